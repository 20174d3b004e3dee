from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from pandas import DataFrame
from scipy.stats import permutation_test

from brats_ablate.errors import DataError
from brats_ablate.metrics.case_metrics import METRICS
from brats_ablate.metrics.instance_metrics import INSTANCE_METRICS
from brats_ablate.tables.ranking import BETTER, HIGHER, LOWER, rank_methods, ranking_table, score_array


def scores(*dice_and_hd95: tuple[float, float]) -> np.ndarray:
    """(cases, 1 region, 2 metrics)."""
    return np.array([[pair] for pair in dice_and_hd95])


def test_ranks_by_hand() -> None:
    values = {
        "a": scores((0.9, 2.0), (0.8, 5.0)),  # ranks 1, 1 and 2, 3
        "b": scores((0.8, 4.0), (0.9, 4.0)),  # ranks 2.5, 3 and 1, 2
        "c": scores((0.8, 3.0), (0.7, 1.0)),  # ranks 2.5, 2 and 3, 1
    }
    ranking = rank_methods(values, ["x", "y"], [HIGHER, LOWER], resamples=50, seed=0)
    np.testing.assert_allclose(ranking.scores, np.array([7 / 4, 8.5 / 4, 8.5 / 4]) / 3)
    np.testing.assert_allclose(ranking.per_case, [[1, 2.75, 2.25], [2.5, 1.5, 2]])
    shown = [(row[0].text, row[1].text) for row in ranking_table(ranking, ["dice", "hd95"]).rows]
    assert shown == [("a", "1"), ("b", "2.5"), ("c", "2.5")]


@pytest.mark.parametrize(("better", "best"), [(HIGHER, "more"), (LOWER, "less")])
def test_the_better_value_ranks_first(better: str, best: str) -> None:
    values = {"less": np.full((3, 1, 1), 1.0), "more": np.full((3, 1, 1), 2.0)}
    ranking = rank_methods(values, ["x", "y", "z"], [better], resamples=10, seed=0)
    assert ranking.methods[ranking.order[0]] == best


def test_every_metric_of_ours_has_a_direction() -> None:
    assert set(BETTER) == {metric for metric in [*METRICS, *INSTANCE_METRICS] if not metric.endswith("_voxels")}
    better = {metric for metric, direction in BETTER.items() if direction == LOWER}
    assert better == {"hd95", "lesion_hd95", "lesions_missed", "lesions_invented"}


@pytest.mark.slow
def test_scans_of_a_patient_are_one_unit_of_test_and_bootstrap() -> None:
    """Equal methods that differ by patient: with scans as units, 5 % would be 30 %."""
    scans = [f"p{p}-{s}" for p in range(30) for s in range(1 + p % 6)]
    patient = np.array([int(scan[1:].partition("-")[0]) for scan in scans])
    generator = np.random.default_rng(0)
    found = {"patients": 0, "scans": 0}
    for _ in range(200):
        effects = generator.normal(size=(2, 30))[:, patient] + 0.1 * generator.normal(size=(2, len(scans)))
        values = {name: effect[:, None, None] for name, effect in zip("ab", effects, strict=True)}
        options = {"resamples": 400, "seed": 0}
        by_patient = rank_methods(values, scans, [HIGHER], patient_of=lambda c: c.partition("-")[0], **options)
        found["patients"] += by_patient.p_values[0, 1] <= 0.05
        found["scans"] += rank_methods(values, scans, [HIGHER], **options).p_values[0, 1] <= 0.05
    assert found["patients"] <= 20  # of 200 with p = 0.05: above 20 in one of a hundred such tests
    assert found["scans"] > 40


def test_a_patients_scans_stay_together_in_the_bootstrap() -> None:
    """Two patients whose scans agree: their resampled means are those of one, of the other, or of both."""
    values = {"a": scores((1, 0), (1, 0), (0, 0)), "b": scores((0, 0), (0, 0), (1, 0))}
    options = {"resamples": 4000, "seed": 0, "patient_of": lambda case: case[0]}
    ranking = rank_methods(values, ["p1", "p2", "q1"], [HIGHER, HIGHER], **options)
    # a ranks first in p's two scans, b in q's: a is first unless q is drawn twice.
    assert ranking.p_first[0] == pytest.approx(0.75, abs=0.03)


def test_n_methods_share_their_mean_rank() -> None:
    generator = np.random.default_rng(0)
    values = {name: generator.random((30, 3, 2)) for name in "abcde"}
    ranking = rank_methods(values, [str(i) for i in range(30)], [HIGHER, LOWER], resamples=200, seed=0)
    assert ranking.scores.sum() == pytest.approx(3)  # five mean ranks of 3, divided by 5
    assert ranking.p_first.sum() == pytest.approx(1)
    assert (ranking.intervals[:, 0] <= ranking.scores).all()
    assert (ranking.scores <= ranking.intervals[:, 1]).all()


def test_equal_methods_are_not_significantly_different_and_a_better_one_is() -> None:
    generator = np.random.default_rng(1)
    base = generator.random((40, 3, 1)) * 0.5
    values = {"one": base, "same": base.copy(), "better": base + 0.1}
    ranking = rank_methods(values, [str(i) for i in range(40)], [HIGHER], resamples=999, seed=0)
    assert ranking.p_values[0, 1] == 1
    assert ranking.p_values[0, 2] == pytest.approx(3 / 1000)  # the smallest possible, times three pairs
    np.testing.assert_array_equal(ranking.p_first, [0, 0, 1])
    np.testing.assert_array_equal(ranking.rank_intervals[2], [1, 1])
    np.testing.assert_array_equal(ranking.p_values, ranking.p_values.T)


def test_no_probability_is_rounded_to_certainty() -> None:
    values = {name: scores((1, 1)) for name in "abcd"}
    ranking = rank_methods(values, ["x"], [HIGHER, LOWER], resamples=10, seed=0)
    ranking = replace(ranking, p_first=np.array([0.996, 0.004, 0.0, 1.0]))
    assert [row[5].text for row in ranking_table(ranking, ["dice", "hd95"]).rows] == [">99%", "<1%", "0%", "100%"]


def test_permutation_p_is_scipys() -> None:
    generator = np.random.default_rng(2)
    values = {"a": generator.random((12, 3, 2)), "b": generator.random((12, 3, 2)) + np.array([0.15, 0])}
    ranking = rank_methods(values, [str(i) for i in range(12)], [HIGHER, LOWER], resamples=20000, seed=0)
    exact = permutation_test(
        (ranking.per_case[:, 0], ranking.per_case[:, 1]),
        lambda x, y, axis: np.mean(x, axis=axis) - np.mean(y, axis=axis),
        permutation_type="samples",
        n_resamples=np.inf,
        vectorized=True,
    )
    assert ranking.p_values[0, 1] == pytest.approx(exact.pvalue, abs=0.015)


def test_needs_two_methods() -> None:
    with pytest.raises(ValueError, match="at least two"):
        rank_methods({"a": scores((1, 1))}, ["x"], [HIGHER, LOWER], resamples=10, seed=0)


def test_values_are_read_by_region_and_metric() -> None:
    rows = DataFrame(
        [
            (c, r, m, 100 * i + 10 * j + k)
            for i, c in enumerate("xy")
            for j, r in enumerate(("GTV", "RC"))
            for k, m in enumerate(("dice", "hd95"))
        ],
        columns=["case", "region", "metric", "value"],
    )
    values = score_array("a", rows[::-1], ["y", "x"], ["RC", "GTV"], ["hd95", "dice"])
    np.testing.assert_array_equal(values, [[[111, 110], [101, 100]], [[11, 10], [1, 0]]])
    with pytest.raises(DataError, match="a has no dice of WT for every case"):
        score_array("a", rows, ["x"], ["GTV", "WT"], ["dice"])
