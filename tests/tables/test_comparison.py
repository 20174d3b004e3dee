"""Verdicts, and what decides which pairs are tested and together with which others."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from brats_ablate.tables.comparison import (
    BETTER,
    EQUIVALENT,
    NOT_DECIDED,
    UNDECIDED,
    WORSE,
    Comparison,
    Flips,
    compare,
)
from brats_ablate.tables.difference import Settings, estimate_differences, pair_contrasts
from brats_ablate.tables.tested_scores import ColumnRuns, RunScores
from brats_ablate.tables.variance import FoldStatistics

SETTINGS = Settings(folds=5, draws=4000)
KEYS = ((5e-4, 0), (7e-4, 0), (9e-4, 0))


def _column(
    shift: float = 0.0,
    *,
    seed: int = 1,
    runs: int = 3,
    patients: int = 20,
    folds: int = 5,
    noise: float = 0.01,
    empty: int = 0,
    false_et: int = 0,
) -> dict[tuple[float, int], dict[int, RunScores]]:
    """Return a column whose patients differ alike in all columns; the first `empty` of a fold lack ET."""
    draw, base = np.random.default_rng(seed), np.random.default_rng(0).uniform(0.6, 0.9, (folds, patients))
    column: dict[tuple[float, int], dict[int, RunScores]] = {}
    for key in KEYS[:runs]:
        column[key] = {}
        for fold in range(folds):
            dice = base[fold] + shift + noise * draw.normal(size=patients)
            sized = np.ones(patients)
            sized[:false_et] = 0
            names = tuple(f"p{fold}{i:03d}" for i in range(patients))
            column[key][fold] = RunScores(names, dice, sized, np.where(np.arange(patients) < empty, 0.0, 900.0))
    return column


def _compare(*columns: ColumnRuns, settings: Settings = SETTINGS) -> list[Comparison]:
    return compare([(i, 0) for i in range(1, len(columns))], columns, settings)


def _x(*columns: ColumnRuns) -> np.ndarray:
    return np.array([[np.concatenate([f.dice for f in run.values()]) for run in c.values()] for c in columns])


def test_a_clear_gain_is_better_and_a_clear_loss_worse() -> None:
    better, worse, same = _compare(_column(), *(_column(s, seed=i) for i, s in enumerate((0.05, -0.05, 0.0), 3)))
    assert (better.verdict, worse.verdict, same.verdict) == (BETTER, WORSE, UNDECIDED)
    assert better.difference == pytest.approx(0.05, abs=0.005)
    assert better.interval.low < better.difference < better.interval.high
    assert (better.cases, better.folds, better.runs, better.reason) == (100, 5, KEYS, "")


def test_the_numbers_are_those_of_the_arrays() -> None:
    columns = [_column(seed=s) for s in range(1, 5)]
    statistics = FoldStatistics.of_patients(_x(*columns), np.repeat(np.arange(5), 20))
    pairs = np.array([[1, 0], [2, 0], [3, 0]])
    expected = estimate_differences(statistics, pair_contrasts(pairs, 4), Settings(folds=5, draws=4000))
    for c, d in zip(_compare(*columns), expected, strict=True):
        assert {k: getattr(c, k) for k in vars(d)} == vars(d)


def test_precise_columns_are_equivalent_and_a_small_gain_is_negligible() -> None:
    same, small = _compare(*(_column(s, seed=i, noise=1e-4) for i, s in enumerate((0, 0, 0.0005), 1)))
    assert (same.verdict, same.reason) == (EQUIVALENT, "")
    assert (small.verdict, small.reason) == (BETTER, "negligible")
    strict = _compare(*(_column(seed=i, noise=1e-4) for i in (1, 2)), settings=replace(SETTINGS, rope=0.0))[0]
    assert strict.verdict == UNDECIDED


@pytest.mark.parametrize(
    ("column", "reason"),
    [
        ({}, "no common finished fold with per-case rows"),
        (_column(folds=1), "one fold does not show run-to-run variability"),
        (
            {(1e-3, 0): _column()[KEYS[0]]},
            "no learning rate and seed is finished in every fold of both columns",
        ),
        ({KEYS[0]: {k: replace(v, patients=tuple("x" * 20)) for k, v in _column()[KEYS[0]].items()}}, "a fold has no"),
    ],
)
def test_a_pair_that_cannot_be_tested_has_a_reason(column: ColumnRuns, reason: str) -> None:
    (comparison,) = _compare(_column(), column)
    assert (comparison.verdict, math.isnan(comparison.p_adjusted)) == (NOT_DECIDED, True)
    assert comparison.reason.startswith(reason)


def test_one_patient_per_fold_is_not_tested() -> None:
    (comparison,) = _compare(_column(patients=1), _column(0.1, patients=1))
    assert (comparison.verdict, comparison.reason) == (NOT_DECIDED, "one patient per fold is not enough for a test")


def test_equal_scores_have_no_p() -> None:
    same, shifted = _compare(_column(), _column(), _column(0.1))
    assert (same.verdict, same.reason) == (NOT_DECIDED, "every patient scores the same")
    assert (shifted.verdict, shifted.reason) == (NOT_DECIDED, "the difference does not vary")
    assert (same.difference, shifted.difference) == (pytest.approx(0), pytest.approx(0.1))


def test_columns_without_variance_leave_the_others_tested() -> None:
    same, better = _compare(_column(), _column(), _column(0.05, seed=2))
    assert (same.verdict, better.verdict) == (NOT_DECIDED, BETTER)


@pytest.mark.parametrize("runs", [1, 3])
def test_a_copy_of_a_column_changes_no_other_comparison(runs: int) -> None:
    """Its equal scores would halve the variance that a table of three columns estimates from all of them."""
    base, column, other = (_column(shift, seed=seed, runs=runs) for shift, seed in ((0, 1), (0.004, 2), (0.002, 3)))
    alone = _compare(base, column)
    copied, compared = _compare(base, base, column)
    assert (copied.verdict, copied.reason) == (NOT_DECIDED, "every patient scores the same")
    assert vars(compared) == vars(replace(alone[0], column=2))
    both = _compare(base, column, other)
    twice = _compare(base, column, column, other)
    for c, expected in zip(twice, (both[0], both[0], both[1]), strict=True):
        assert (c.difference, c.variance, c.degrees) == (expected.difference, expected.variance, expected.degrees)
        assert c.p_adjusted == pytest.approx(expected.p_adjusted, abs=0.02)


def test_only_shared_runs_count_and_other_sets_are_a_family_of_their_own() -> None:
    base, full, single = _column(), _column(0.01, seed=2), _column(0.01, seed=3, runs=1)
    both = _compare(base, full, single)
    assert [c.runs for c in both] == [KEYS, KEYS[:1]]
    for c, alone in zip(both, (_compare(base, full)[0], _compare({KEYS[0]: base[KEYS[0]]}, single)[0]), strict=True):
        assert c.difference == alone.difference
        assert c.p_adjusted == pytest.approx(min(1, 2 * alone.p_adjusted))
        assert c.critical > alone.critical


def test_a_run_that_misses_a_fold_is_left_out_in_all_folds() -> None:
    column = _column(seed=2)
    del column[KEYS[2]][4]
    (comparison,) = _compare(_column(), column)
    assert (comparison.runs, comparison.folds) == (KEYS[:2], 5)


def test_missing_folds_and_few_patients_are_named() -> None:
    column = _column(0.2, seed=2, patients=4)
    for run in column.values():
        del run[3]
    (comparison,) = _compare(_column(patients=4), column)
    assert (comparison.verdict, comparison.reason) == (BETTER, "4 of 5 folds; small sample (n = 16)")
    assert comparison.is_small


def test_only_the_patients_that_both_have_are_compared() -> None:
    (comparison,) = _compare(_column(), _column(seed=2, patients=12))
    assert comparison.cases == 60


def test_a_wide_table_is_stricter() -> None:
    columns = [_column(seed=s) for s in range(1, 12)]
    wide, narrow = _compare(*columns)[0], _compare(*columns[:2])[0]
    assert wide.critical > 2.5 > narrow.critical  # of 10 columns; Student's t of one is 2.2 to 2.4
    assert wide.difference == narrow.difference


def test_several_baselines_are_one_family() -> None:
    columns = [_column(seed=s) for s in range(1, 5)]
    tested = compare([(1, 0), (3, 2)], columns, SETTINGS)
    assert [(c.column, c.baseline) for c in tested] == [(1, 0), (3, 2)]
    assert tested[0].critical == tested[1].critical


def test_patients_with_et_are_a_family_of_their_own_and_flips_are_counted() -> None:
    base, column = _column(empty=3, false_et=2), _column(0.02, seed=2, empty=3, false_et=1)
    (comparison,) = _compare(base, column)
    assert comparison.flips == Flips(15, gained=5, lost=0)
    on = comparison.on_reference
    kept = np.tile(np.arange(20) >= 3, 5)
    x = _x(base, column)[:, :, kept]
    assert on.cases == 85
    assert on.difference == pytest.approx((x[1] - x[0]).mean())
    assert comparison.difference != on.difference
    assert _compare(_column(), _column(seed=2))[0].on_reference is None


def test_more_runs_are_needed_for_a_smaller_difference() -> None:
    (comparison,) = _compare(_column(), _column(seed=2))
    fixed, per_run = comparison.variance_by_runs
    assert fixed + per_run / 3 == pytest.approx(comparison.variance)
    needed = [comparison.runs_for(d) for d in (0.1, 0.01, 0.004)]
    assert needed[0] == 1
    assert needed == sorted(n for n in needed if n is not None)
    assert comparison.runs_for(1e-9) is None
    assert _compare(_column(runs=1), _column(runs=1, seed=2))[0].runs_for(0.01) is None
