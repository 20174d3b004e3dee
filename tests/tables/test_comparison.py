from __future__ import annotations

import math

import numpy as np
import pytest
from pandas import DataFrame
from schemes import BRATS2021, MEN_RT, REGIONS

from brats_ablate.tables.comparison import BETTER, SAME, UNDECIDED, WORSE, Comparison, compare, strata
from brats_ablate.tables.scores import FoldScore, FoldScores


def _rows(dice: np.ndarray, et_voxels: list[float] | None = None) -> DataFrame:
    n = len(dice)
    rows = DataFrame(dice, [f"c{i:03d}" for i in range(n)], list(REGIONS))
    return rows.assign(fold=np.arange(n) % 5, reference_voxels=et_voxels if et_voxels is not None else math.nan)


NOTHING = _rows(np.empty((0, 3)))


def _scores(rows: DataFrame, folds: int = 5) -> FoldScores:
    mean_dice = rows[list(REGIONS)].mean(axis=1)
    by_fold = [mean_dice[rows["fold"] == fold] for fold in range(folds)]
    return FoldScores(
        tuple(FoldScore("finished", float(v.mean())) if len(v) else FoldScore("missing") for v in by_fold)
    )


def _compare(*columns: DataFrame) -> list[Comparison]:
    pairs = [(i, 0 if i else None) for i in range(len(columns))]
    return compare(pairs, [_scores(c) for c in columns], columns, regions=REGIONS, folds=5, resamples=2000, seed=0)


def _dice(n: int = 100, shift: float = 0.0, noise: float = 0.01, seed: int = 1) -> np.ndarray:
    base = np.random.default_rng(0).uniform(0.6, 0.9, size=(n, 3))
    return base + shift + noise * np.random.default_rng(seed).normal(size=(n, 3))


def test_a_clear_gain_is_better_and_a_clear_loss_worse() -> None:
    better, worse, same = _compare(_rows(_dice()), *(_rows(_dice(shift=s, seed=2)) for s in (0.05, -0.05, 0.0)))
    assert (better.verdict, worse.verdict, same.verdict) == (BETTER, WORSE, SAME)
    assert better.difference == pytest.approx(0.05, abs=0.005)
    assert better.interval.low < better.difference < better.interval.high
    assert better.fold_difference == pytest.approx(better.difference, abs=1e-12)


def test_the_reason_says_that_all_cases_score_the_same() -> None:
    (comparison,) = _compare(_rows(_dice()), _rows(_dice()))
    assert (comparison.verdict, comparison.reason) == (SAME, "every case scores the same")
    assert (comparison.p_cases, comparison.difference) == (1.0, 0.0)
    assert comparison.required_cases == math.inf


def test_a_difference_that_is_not_significant_over_folds_has_no_verdict() -> None:
    shifts = np.array([0.06, -0.03, 0.05, -0.02, 0.06])[np.arange(100) % 5][:, None]
    (comparison,) = _compare(_rows(_dice()), _rows(_dice() + shifts))
    assert comparison.p_holm < 0.01
    assert (comparison.verdict, comparison.reason) == (SAME, "not significant over folds")


@pytest.mark.parametrize(
    ("column", "reason"),
    [
        (NOTHING, "no common finished folds"),
        (_rows(_dice(1)), "one case is not enough for a test"),
    ],
)
def test_an_undecided_comparison_has_a_reason(column: DataFrame, reason: str) -> None:
    (comparison,) = _compare(_rows(_dice()), column)
    assert (comparison.verdict, comparison.reason) == (UNDECIDED, reason)


def test_folds_without_case_rows_are_undecided() -> None:
    scores = [_scores(_rows(_dice())), _scores(_rows(_dice(shift=0.01)))]
    (comparison,) = compare(
        [(0, None), (1, 0)], scores, [NOTHING, NOTHING], regions=REGIONS, folds=5, resamples=100, seed=0
    )
    assert (comparison.verdict, comparison.reason) == (UNDECIDED, "the runs have no per-case rows")
    assert comparison.shown_difference == pytest.approx(0.01)


def test_one_common_fold_is_undecided() -> None:
    rows = [_rows(_dice(40)), _rows(_dice(40, shift=0.1))]
    scores = [FoldScores((_scores(r).folds[0], *(FoldScore("missing"),) * 4)) for r in rows]
    (comparison,) = compare([(0, None), (1, 0)], scores, rows, regions=REGIONS, folds=5, resamples=500, seed=0)
    assert (comparison.verdict, comparison.reason) == (UNDECIDED, "one fold does not show run-to-run variability")


def test_one_case_folds_work() -> None:
    (comparison,) = _compare(_rows(_dice(5)), _rows(_dice(5, shift=0.2, noise=0.001)))
    assert comparison.cases == 5
    assert comparison.p_cases == 2 / 2**5  # exact, and too few cases to call
    assert comparison.verdict == SAME


def test_only_the_cases_that_both_have_are_compared() -> None:
    whole, part = _rows(_dice(50)), _rows(_dice(50, shift=0.1)[:30])
    (comparison,) = _compare(whole, part)
    assert comparison.cases == 30


def test_holm_makes_a_wide_table_stricter() -> None:
    columns = [_rows(_dice(seed=s)) for s in range(2, 12)]
    comparisons = _compare(_rows(_dice()), *columns)
    assert min(c.p_holm for c in comparisons) == pytest.approx(10 * min(c.p_cases for c in comparisons))


def test_strata_by_hand() -> None:
    sizes = [0, 10, 499, 500, 9000]
    base = np.full((5, 3), 0.8)
    changed = base + np.array([0.1, 0.2, 0.4, 0.0, 0.0])[:, None]
    rows = [_rows(base, sizes), _rows(changed, sizes)]
    subgroups = strata([(0, None), (1, 0)], rows, labels=BRATS2021, resamples=500, seed=0)
    assert [(s.column, s.cases) for s in subgroups] == [(0, 1), (1, 1), (0, 2), (1, 2), (0, 2), (1, 2)]
    assert [round(s.difference, 6) for s in subgroups if s.column == 1] == [0.1, 0.3, 0.0]
    assert math.isnan(subgroups[0].difference)
    np.testing.assert_allclose(subgroups[3].dice, [1.1] * 3)


def test_a_column_with_missing_cases_has_smaller_strata() -> None:
    sizes = [0, 10, 499, 500, 9000]
    whole = _rows(np.full((5, 3), 0.8), sizes)
    subgroups = strata([(0, None), (1, 0)], [whole, whole[2:]], labels=BRATS2021, resamples=100, seed=0)
    assert [(s.title, s.column, s.cases) for s in subgroups] == [
        ("no ET", 0, 1),
        ("ET < 500 voxels", 0, 2),
        ("ET < 500 voxels", 1, 1),
        ("ET ≥ 500 voxels", 0, 2),
        ("ET ≥ 500 voxels", 1, 2),
    ]


def test_strata_of_other_labels_are_by_their_own_region() -> None:
    sizes = [0.0, 10, 499, 500, 9000]
    rows = [
        DataFrame({"GTV": values}, [f"c{i}" for i in range(5)]).assign(fold=0, reference_voxels=sizes)
        for values in ([0.5] * 5, [0.5, 0.6, 0.8, 0.5, 0.5])
    ]
    subgroups = strata([(0, None), (1, 0)], rows, labels=MEN_RT, resamples=100, seed=0)
    assert [s.title for s in subgroups[::2]] == ["no GTV", "GTV < 500 voxels", "GTV ≥ 500 voxels"]
    assert [s.difference for s in subgroups[1::2]] == pytest.approx([0, 0.2, 0])
    np.testing.assert_allclose(subgroups[3].dice, [0.7])


def test_without_sizes_there_are_no_strata() -> None:
    assert strata([(0, None)], [_rows(_dice())], labels=BRATS2021, resamples=10, seed=0) == []
