"""Evaluated columns compared with each other."""

from __future__ import annotations

import math

import numpy as np
import pytest
from pandas import DataFrame
from schemes import REGIONS
from scipy import stats

from brats_ablate.tables.comparison import BETTER, NOT_DECIDED, UNDECIDED, WORSE
from brats_ablate.tables.difference import Settings
from brats_ablate.tables.evaluated import compare_evaluated, paired_test
from brats_ablate.tables.spec import Column, TableSpec
from brats_ablate.tables.statistics import holm

SETTINGS = Settings(folds=3)


def test_a_case_by_hand() -> None:
    """Folds of 3 and 1 patients; the first patient has two scans.

    Patients: .04 (mean of .02 and .06), .01, .01 | .10. Fold means .02 and .10, Δ .06. Squares .0004 + .0001 + .0001
    over 4 - 2 degrees: .0003. V = .0003 · (1/3 + 1/1) / 4 = .0001, t = .06 / .01 = 6 with 2 degrees.
    """
    test = paired_test(np.array([0.02, 0.06, 0.01, 0.01, 0.1]), [0, 0, 0, 0, 1], ["a", "a", "b", "c", "d"])
    assert test.cases == 4
    assert (test.difference, test.variance) == pytest.approx((0.06, 1e-4))
    assert test.p_adjusted == pytest.approx(0.026671, abs=1e-6)  # t = 6 with 2 degrees: 1 - 6 / sqrt(2 + 36)
    assert (test.interval.low, test.interval.high) == pytest.approx((0.06 - 0.0430265, 0.06 + 0.0430265), abs=1e-6)


def test_one_group_is_the_one_sample_t_test() -> None:
    differences = np.random.default_rng(0).normal(0.01, 0.05, 30)
    test = paired_test(differences, [-1] * 30, [str(i) for i in range(30)])
    reference = stats.ttest_1samp(differences, 0)
    assert test.p_adjusted == pytest.approx(reference.pvalue, rel=1e-9)
    interval = reference.confidence_interval(0.95)
    assert (test.interval.low, test.interval.high) == pytest.approx((interval.low, interval.high), rel=1e-9)


@pytest.mark.slow
def test_false_positives_are_near_the_level() -> None:
    """Five folds of different difficulty and heavy-tailed patients, three of which have a second scan."""
    rng = np.random.default_rng(1)
    folds = np.repeat(np.arange(5), 8)
    patients = [f"p{i if i < 37 else i - 37}" for i in range(40)]
    folds[37:] = folds[:3]
    n = 400
    p = []
    for _ in range(n):
        of_patient = rng.standard_t(4, 40) * 0.02
        noise = np.array([of_patient[int(name[1:])] for name in patients])
        p.append(paired_test(noise, folds.tolist(), patients).p_adjusted)
    low, high = stats.binom.interval(0.999, n, 0.05)
    assert low <= sum(value <= 0.05 for value in p) <= high


def test_without_degrees_of_freedom_or_variance_there_is_no_p() -> None:
    test = paired_test(np.array([0.1, 0.2]), [0, 1], ["a", "b"])
    assert math.isnan(test.p_adjusted)
    assert math.isnan(test.interval.low)
    assert math.isnan(paired_test(np.array([0.1, 0.1]), [0, 0], ["a", "b"]).p_adjusted)


def scores(values: np.ndarray, folds: list[int], first: int = 0) -> DataFrame:
    cases = [f"c{first + i:02d}" for i in range(len(values))]
    table = DataFrame(dict.fromkeys(REGIONS, values), index=cases)
    return table.assign(fold=folds, reference_voxels=np.nan)


def evaluation(name: str) -> Column:
    return Column(name, None, name, None)


def test_pairs_are_compared_on_common_cases_with_holm_and_verdicts() -> None:
    rng = np.random.default_rng(2)
    folds = [i % 3 for i in range(30)]
    base = rng.uniform(0.6, 0.9, 30)
    columns = [evaluation(n) for n in ("base", "good", "bad", "same", "copy", "few", "none", "shifted")]
    values = [base, base + 0.02, base - 0.01, base, base, (base + 0.02)[:3], base[:1], base + 0.01]
    spread = [0, 0.01, 0.01, 0.03, 0, 0, 0, 0]
    rows = [scores(v + rng.normal(0, s, len(v)), folds[: len(v)]) for v, s in zip(values, spread, strict=True)]
    rows[6] = scores(base[:1], [0], first=90)
    pairs = [(i, 0) for i in range(1, 8)]
    compared = compare_evaluated(pairs, columns, rows, SETTINGS, regions=REGIONS, patient_of=str)
    assert [c.verdict for c in compared] == [BETTER, WORSE, UNDECIDED, *[NOT_DECIDED] * 4]
    assert [c.cases for c in compared] == [30, 30, 30, 30, 3, 0, 30]
    tests = [paired_test((rows[i]["ET"] - rows[0]["ET"]).to_numpy(), folds, rows[0].index) for i in (1, 2, 3)]
    expected = holm(np.array([test.p_adjusted for test in tests]))
    assert [c.p_adjusted for c in compared[:3]] == pytest.approx(expected.tolist())
    for c, part in zip(
        compared,
        ("these trained", "these trained", "these trained", "every patient", "no two", "no common", "does not vary"),
        strict=True,
    ):
        assert part in c.reason


def test_the_smallest_detectable_difference_has_the_stated_power() -> None:
    rng = np.random.default_rng(5)
    base, noise = rng.uniform(0.6, 0.9, 40), rng.normal(0, 0.01, 40)
    columns, folds = [evaluation("base"), evaluation("other")], [i % 2 for i in range(40)]
    rows = [scores(base, folds), scores(base + noise, folds)]
    (c,) = compare_evaluated([(1, 0)], columns, rows, SETTINGS, regions=REGIONS, patient_of=str)
    shift = c.minimum_detectable_effect / np.sqrt(c.variance)
    t = stats.nct.rvs(38, shift, size=40_000, random_state=6)
    assert np.mean(np.abs(t) > stats.t.ppf(0.975, 38)) == pytest.approx(0.8, abs=0.01)


def test_test_cases_are_not_a_fold_among_folds() -> None:
    base = np.random.default_rng(3).uniform(0.6, 0.9, 12)
    noise = np.random.default_rng(4).normal(0, 0.01, 12)
    columns = [evaluation("base"), evaluation("other")]
    folds = [0] * 5 + [1] * 5 + [-1] * 2
    rows = [scores(base, folds), scores(base + noise, folds)]
    (c,) = compare_evaluated([(1, 0)], columns, rows, SETTINGS, regions=REGIONS, patient_of=str)
    assert c.cases == 10
    assert (
        "these trained networks; 2 common cases of no fold are left out; 2 of 3 folds; small sample (n = 10)"
        in c.reason
    )
    assert c.difference == pytest.approx((noise[:5].mean() + noise[5:10].mean()) / 2)
    (test_set,) = compare_evaluated(
        [(1, 0)], columns, [r.assign(fold=-1) for r in rows], SETTINGS, regions=REGIONS, patient_of=str
    )
    assert "folds" not in test_set.reason
    assert test_set.p_adjusted == pytest.approx(stats.ttest_1samp(noise, 0).pvalue, rel=1e-6)


def test_a_trained_column_is_not_compared_with_an_evaluated_one() -> None:
    columns = [Column("DS", "ds", None, None), Column("U-Net", "baseline", None, None), evaluation("theirs")]
    spec = TableSpec("t", "T", None, None, tuple(columns))
    assert [spec.is_trained(*pair) for pair in ((1, 0), (2, 0), (0, 2))] == [True, False, False]
    rows = [scores(np.linspace(0.5, 0.9, 6), [0, 0, 1, 1, 2, 2])] * 3
    (c,) = compare_evaluated([(2, 0)], columns, rows, SETTINGS, regions=REGIONS, patient_of=str)
    assert c.verdict == NOT_DECIDED
    assert math.isnan(c.difference)
    assert "list evaluation: ds, from +experiment=ds job=predict and job=evaluate" in c.reason
