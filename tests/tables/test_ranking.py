from __future__ import annotations

import numpy as np
import pytest
from pandas import DataFrame
from scipy.stats import permutation_test

from brats_ablate.errors import DataError
from brats_ablate.tables.ranking import rank_methods, score_array


def scores(*dice_and_hd95: tuple[float, float]) -> np.ndarray:
    """(cases, 1 region, 2 metrics)."""
    return np.array([[pair] for pair in dice_and_hd95])


def test_ranks_by_hand() -> None:
    values = {
        "a": scores((0.9, 2.0), (0.8, 5.0)),  # ranks 1, 1 and 2, 3
        "b": scores((0.8, 4.0), (0.9, 4.0)),  # ranks 2.5, 3 and 1, 2
        "c": scores((0.8, 3.0), (0.7, 1.0)),  # ranks 2.5, 2 and 3, 1
    }
    ranking = rank_methods(values, ["x", "y"], ["dice", "hd95"], resamples=50, seed=0)
    np.testing.assert_allclose(ranking.scores, np.array([7 / 4, 8.5 / 4, 8.5 / 4]) / 3)
    np.testing.assert_allclose(ranking.per_case, [[1, 2.75, 2.25], [2.5, 1.5, 2]])


@pytest.mark.parametrize(
    ("metric", "best"),
    [
        ("dice", "more"),
        ("lesion_f1", "more"),
        ("hd95", "less"),
        ("lesions_missed", "less"),
        ("lesions_invented", "less"),
    ],
)
def test_the_direction_of_every_kind_of_metric(metric: str, best: str) -> None:
    values = {"less": np.full((3, 1, 1), 1.0), "more": np.full((3, 1, 1), 2.0)}
    ranking = rank_methods(values, ["x", "y", "z"], [metric], resamples=10, seed=0)
    assert ranking.methods[ranking.order[0]] == best


def test_n_methods_share_their_mean_rank() -> None:
    generator = np.random.default_rng(0)
    values = {name: generator.random((30, 3, 2)) for name in "abcde"}
    ranking = rank_methods(values, [str(i) for i in range(30)], ["dice", "hd95"], resamples=200, seed=0)
    assert ranking.scores.sum() == pytest.approx(3)  # five mean ranks of 3, divided by 5
    assert ranking.p_first.sum() == pytest.approx(1)
    assert (ranking.intervals[:, 0] <= ranking.scores).all()
    assert (ranking.scores <= ranking.intervals[:, 1]).all()


def test_equal_methods_are_not_significantly_different_and_a_better_one_is() -> None:
    generator = np.random.default_rng(1)
    base = generator.random((40, 3, 1)) * 0.5
    values = {"one": base, "same": base.copy(), "better": base + 0.1}
    ranking = rank_methods(values, [str(i) for i in range(40)], ["dice"], resamples=999, seed=0)
    assert ranking.p_values[0, 1] == 1
    assert ranking.p_values[0, 2] == pytest.approx(3 / 1000)  # the smallest possible, times three pairs
    np.testing.assert_array_equal(ranking.p_first, [0, 0, 1])
    np.testing.assert_array_equal(ranking.rank_intervals[2], [1, 1])
    np.testing.assert_array_equal(ranking.p_values, ranking.p_values.T)


def test_permutation_p_is_scipys() -> None:
    generator = np.random.default_rng(2)
    values = {"a": generator.random((12, 3, 2)), "b": generator.random((12, 3, 2)) + np.array([0.15, 0])}
    ranking = rank_methods(values, [str(i) for i in range(12)], ["dice", "hd95"], resamples=20000, seed=0)
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
        rank_methods({"a": scores((1, 1))}, ["x"], ["dice", "hd95"], resamples=10, seed=0)


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
