from __future__ import annotations

import math

import numpy as np
import pytest

from brats_ablate.tables.case_scores import CaseScores
from brats_ablate.tables.comparison import BETTER, SAME, UNDECIDED, WORSE, Comparison, compare, strata
from brats_ablate.tables.scores import FINISHED, MISSING, Cell, Scores


def _rows(dice: np.ndarray, et_voxels: list[float] | None = None) -> CaseScores:
    n = len(dice)
    sizes = np.array(et_voxels if et_voxels is not None else [math.nan] * n)
    return CaseScores(tuple(f"c{i:03d}" for i in range(n)), np.arange(n) % 5, dice, sizes)


def _scores(rows: CaseScores | None, folds: int = 5) -> Scores:
    if rows is None:
        return Scores((Cell(MISSING),) * folds)
    by_fold = [rows.mean_dice[rows.folds == fold] for fold in range(folds)]
    return Scores(tuple(Cell(FINISHED, float(v.mean())) if len(v) else Cell(MISSING) for v in by_fold))


def _compare(*columns: CaseScores | None) -> list[Comparison]:
    pairs = [(i, 0 if i else None) for i in range(len(columns))]
    return compare(pairs, [_scores(c) for c in columns], columns, folds=5, resamples=2000, seed=0)


def _dice(n: int = 100, shift: float = 0.0, noise: float = 0.01, seed: int = 1) -> np.ndarray:
    base = np.random.default_rng(0).uniform(0.6, 0.9, size=(n, 3))
    return base + shift + noise * np.random.default_rng(seed).normal(size=(n, 3))


def test_a_clear_gain_is_better_and_a_clear_loss_worse() -> None:
    better, worse, same = _compare(_rows(_dice()), *(_rows(_dice(shift=s, seed=2)) for s in (0.05, -0.05, 0.0)))
    assert (better.verdict, worse.verdict, same.verdict) == (BETTER, WORSE, SAME)
    assert better.difference == pytest.approx(0.05, abs=0.005)
    assert better.interval.low < better.difference < better.interval.high
    assert better.fold_difference == pytest.approx(better.difference, abs=1e-12)


def test_all_equal_columns_are_told_in_words() -> None:
    (found,) = _compare(_rows(_dice()), _rows(_dice()))
    assert (found.verdict, found.reason) == (SAME, "every case scores the same")
    assert (found.p_cases, found.difference) == (1.0, 0.0)
    assert found.cases_needed == math.inf


def test_folds_that_disagree_forbid_a_verdict_that_the_cases_alone_would_give() -> None:
    shifts = np.array([0.06, -0.03, 0.05, -0.02, 0.06])[np.arange(100) % 5][:, None]
    (found,) = _compare(_rows(_dice()), _rows(_dice() + shifts))
    assert found.p_holm < 0.01
    assert (found.verdict, found.reason) == (SAME, "the folds disagree by as much")


@pytest.mark.parametrize(
    ("column", "reason"),
    [
        (None, "no fold is finished in both"),
        (_rows(_dice(1)), "one case cannot show a difference"),
    ],
)
def test_what_cannot_be_decided_says_why(column: CaseScores | None, reason: str) -> None:
    (found,) = _compare(_rows(_dice()), column)
    assert (found.verdict, found.reason) == (UNDECIDED, reason)


def test_folds_without_case_rows_say_so() -> None:
    scores = [_scores(_rows(_dice())), _scores(_rows(_dice(shift=0.01)))]
    (found,) = compare([(0, None), (1, 0)], scores, [None, None], folds=5, resamples=100, seed=0)
    assert (found.verdict, found.reason) == (UNDECIDED, "the runs have no per-case rows")
    assert found.shown_difference == pytest.approx(0.01)


def test_one_fold_alone_says_nothing_of_training() -> None:
    rows = [_rows(_dice(40)), _rows(_dice(40, shift=0.1))]
    scores = [Scores((_scores(r).cells[0], *(Cell(MISSING),) * 4)) for r in rows]
    (found,) = compare([(0, None), (1, 0)], scores, rows, folds=5, resamples=500, seed=0)
    assert (found.verdict, found.reason) == (UNDECIDED, "one fold says nothing of the noise of training")


def test_one_case_folds_work() -> None:
    (found,) = _compare(_rows(_dice(5)), _rows(_dice(5, shift=0.2, noise=0.001)))
    assert found.cases == 5
    assert found.p_cases == 2 / 2**5  # exact, and too few cases to call
    assert found.verdict == SAME


def test_only_the_cases_that_both_have_are_compared() -> None:
    whole, part = _rows(_dice(50)), _rows(_dice(50, shift=0.1)[:30])
    (found,) = _compare(whole, part)
    assert found.cases == 30


def test_holm_makes_a_wide_table_stricter() -> None:
    columns = [_rows(_dice(seed=s)) for s in range(2, 12)]
    found = _compare(_rows(_dice()), *columns)
    assert min(c.p_holm for c in found) == pytest.approx(10 * min(c.p_cases for c in found))


def test_strata_by_hand() -> None:
    sizes = [0, 10, 499, 500, 9000]
    base = np.full((5, 3), 0.8)
    changed = base + np.array([0.1, 0.2, 0.4, 0.0, 0.0])[:, None]
    rows = [_rows(base, sizes), _rows(changed, sizes)]
    found = strata([(0, None), (1, 0)], rows, resamples=500, seed=0)
    assert [s.cases for s in found] == [(1, 1), (2, 2), (2, 2)]
    assert [round(s.differences[1][0], 6) for s in found if s.differences[1]] == [0.1, 0.3, 0.0]
    assert found[0].differences[0] is None
    np.testing.assert_allclose(found[1].dice[1], [1.1] * 3)


def test_a_column_that_lacks_cases_says_so_in_its_strata() -> None:
    sizes = [0, 10, 499, 500, 9000]
    whole = _rows(np.full((5, 3), 0.8), sizes)
    part = CaseScores(whole.cases[2:], whole.folds[2:], whole.dice[2:], whole.et_reference[2:])
    found = strata([(0, None), (1, 0)], [whole, part], resamples=100, seed=0)
    assert [s.cases for s in found] == [(1, 0), (2, 1), (2, 2)]
    assert found[0].dice[1] is None


def test_without_sizes_there_are_no_strata() -> None:
    assert strata([(0, None)], [_rows(_dice())], resamples=10, seed=0) == []
