"""Holds the columns of a table against their baseline: which differences are real, in numbers and in words.

A difference is called only if both of its sources of noise leave it standing: first the choice of cases (paired
permutation test, Holm-corrected over the columns of the table), then the training itself (corrected t-test over folds,
Holm-corrected over the columns that the cases tell apart). The paper's own differences are a few ten-thousandths;
either test alone calls chance a finding (`docs/statistics.md` has the simulation).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from brats_ablate.tables import statistics
from brats_ablate.tables.case_scores import CaseScores
from brats_ablate.tables.scores import Scores
from brats_ablate.tables.statistics import UNKNOWN, Interval

ALPHA = 0.05
SMALL_ET_VOXELS = 500
"""An enhancing tumour below this is "small": its Dice turns on a few voxels (1 mm³ each in BraTS)."""

BETTER, WORSE, SAME, UNDECIDED = "better", "worse", "not distinguishable", "not decided"


@dataclass(frozen=True)
class Comparison:
    """One column held against another. Differences are column minus baseline, in mean Dice of the three regions."""

    column: int
    against: int
    cases: int = 0
    difference: float = math.nan
    """Mean over the cases that both have."""
    interval: Interval = UNKNOWN
    p_cases: float = math.nan
    p_holm: float = math.nan
    fold_differences: tuple[float, ...] = ()
    p_folds: float = math.nan
    p_folds_holm: float = math.nan
    """Corrected over those columns of the table that the cases tell apart; NaN for the others."""
    case_sd: float = math.nan
    """Standard deviation of the per-case difference."""
    verdict: str = UNDECIDED
    reason: str = ""

    @property
    def fold_difference(self) -> float:
        """Mean difference over the folds that both have."""
        return float(np.mean(self.fold_differences)) if self.fold_differences else math.nan

    @property
    def shown_difference(self) -> float:
        """Over cases where there are rows, else over folds."""
        return self.fold_difference if math.isnan(self.difference) else self.difference

    @property
    def detectable(self) -> float:
        """The smallest difference that as many cases show with 80 % power."""
        return statistics.minimum_detectable_effect(self.case_sd, self.cases)

    @property
    def cases_needed(self) -> float:
        """Cases with which the difference found would be seen with 80 % power."""
        return statistics.required_sample_size(self.case_sd, self.difference) if self.cases > 1 else math.nan


@dataclass(frozen=True)
class Stratum:
    """One kind of case: its size, each column's Dice per region, and the differences with their intervals."""

    title: str
    cases: tuple[int, ...]
    """Per column: one that lacks folds has fewer."""
    dice: tuple[np.ndarray | None, ...]
    """Per column (3,) mean Dice of the regions; None where the column has no rows."""
    differences: tuple[tuple[float, Interval] | None, ...]
    """Per column, to its baseline."""


def compare(
    pairs: Sequence[tuple[int, int | None]],
    scores: Sequence[Scores],
    rows: Sequence[CaseScores | None],
    *,
    folds: int,
    resamples: int,
    seed: int,
) -> list[Comparison]:
    """Compare each (column, baseline) of a table.

    Args:
        pairs: column index and the index of the column it is held against; None: not held against any.
        scores: per column, its folds.
        rows: per column, its per-case rows.
        folds: of the cross-validation.
        resamples: bootstrap samples and permutations.
        seed: of the resampling.
    """
    found = []
    for column, against in pairs:
        if against is None:
            continue
        both = [(a, b) for a, b in zip(scores[column].values, scores[against].values, strict=True)]
        by_fold = tuple(a - b for a, b in both if a is not None and b is not None)
        p_folds = statistics.corrected_t_p_value(np.array(by_fold), folds)
        found.append(Comparison(column, against, fold_differences=by_fold, p_folds=p_folds))
    found = _over_cases(found, rows, resamples, seed)
    over_cases = statistics.holm(np.array([c.p_cases for c in found]))
    told_apart = [c.p_folds if p <= ALPHA else math.nan for c, p in zip(found, over_cases, strict=True)]
    over_folds = statistics.holm(np.array(told_apart))
    return [
        _decide(replace(c, p_holm=float(p), p_folds_holm=float(q)), folds)
        for c, p, q in zip(found, over_cases, over_folds, strict=True)
    ]


def paired_differences(column: CaseScores, baseline: CaseScores) -> tuple[list[str], np.ndarray]:
    """The cases that both have, and (cases, 3) the differences of their Dice per region."""
    where = {case: i for i, case in enumerate(baseline.cases)}
    common = [(i, where[case]) for i, case in enumerate(column.cases) if case in where]
    mine, theirs = [i for i, _ in common], [j for _, j in common]
    return [column.cases[i] for i in mine], column.dice[mine] - baseline.dice[theirs]


def _over_cases(
    comparisons: list[Comparison], rows: Sequence[CaseScores | None], resamples: int, seed: int
) -> list[Comparison]:
    """Fill in what is computed over cases; columns with the same cases are resampled together."""
    together: dict[tuple[str, ...], list[tuple[int, np.ndarray]]] = {}
    for i, c in enumerate(comparisons):
        mine, theirs = rows[c.column], rows[c.against]
        if mine is not None and theirs is not None:
            common, differences = paired_differences(mine, theirs)
            together.setdefault(tuple(common), []).append((i, differences.mean(axis=1)))
    filled = list(comparisons)
    for cases, group in together.items():
        if not cases:
            continue
        means = np.stack([values for _, values in group], axis=1)
        intervals = statistics.bootstrap_intervals(means, resamples, seed)
        p_values = statistics.permutation_p_values(means, resamples, seed)
        for (i, values), interval, p in zip(group, intervals, p_values, strict=True):
            filled[i] = replace(
                comparisons[i],
                cases=len(cases),
                difference=float(values.mean()),
                interval=interval,
                p_cases=float(p),
                case_sd=float(values.std(ddof=1)) if len(cases) > 1 else math.nan,
            )
    return filled


def _decide(c: Comparison, folds: int) -> Comparison:
    shared = len(c.fold_differences)
    if shared == 0:
        return replace(c, reason="no fold is finished in both")
    if c.cases == 0:
        return replace(c, reason="the runs have no per-case rows")
    if c.cases == 1:
        return replace(c, reason="one case cannot show a difference")
    if shared < 2:
        return replace(c, reason="one fold says nothing of the noise of training")
    partial = "" if shared == folds else f"; {shared} of {folds} folds"
    if c.case_sd == 0 and c.difference == 0:
        return replace(c, verdict=SAME, reason=f"every case scores the same{partial}")
    if c.p_holm <= ALPHA and c.p_folds_holm <= ALPHA and c.difference * c.fold_difference > 0:
        return replace(c, verdict=BETTER if c.difference > 0 else WORSE, reason=f"over cases and over folds{partial}")
    if c.p_holm <= ALPHA:
        return replace(c, verdict=SAME, reason=f"the folds disagree by as much{partial}")
    if c.p_folds <= ALPHA:
        return replace(c, verdict=SAME, reason=f"the cases differ by as much{partial}")
    return replace(c, verdict=SAME, reason=f"within the noise of cases and folds{partial}")


def strata(
    pairs: Sequence[tuple[int, int | None]], rows: Sequence[CaseScores | None], *, resamples: int, seed: int
) -> list[Stratum]:
    """The table on cases without ET, with a small and with a larger one; [] if no row says how large the ET is."""
    sizes: dict[str, float] = {}
    for column in rows:
        if column is not None:
            known = ~np.isnan(column.et_reference)
            sizes |= {c: s for c, s, k in zip(column.cases, column.et_reference, known, strict=True) if k}
    kinds = (
        ("no ET", lambda v: v == 0),
        (f"ET under {SMALL_ET_VOXELS} voxels", lambda v: 0 < v < SMALL_ET_VOXELS),
        (f"ET of {SMALL_ET_VOXELS} voxels or more", lambda v: v >= SMALL_ET_VOXELS),
    )
    found = []
    for title, holds in kinds:
        chosen = {case for case, voxels in sizes.items() if holds(voxels)}
        if chosen:
            found.append(_stratum(title, chosen, pairs, rows, resamples, seed))
    return found


def _stratum(
    title: str,
    chosen: set[str],
    pairs: Sequence[tuple[int, int | None]],
    rows: Sequence[CaseScores | None],
    resamples: int,
    seed: int,
) -> Stratum:
    kept = [None if column is None else _only(column, chosen) for column in rows]
    differences: list[tuple[float, Interval] | None] = []
    for column, against in pairs:
        a, b = kept[column], None if against is None else kept[against]
        means = np.empty((0, 1)) if a is None or b is None else paired_differences(a, b)[1].mean(axis=1, keepdims=True)
        if not len(means):
            differences.append(None)
        else:
            differences.append((float(means.mean()), statistics.bootstrap_intervals(means, resamples, seed)[0]))
    dice = tuple(k.dice.mean(axis=0) if k is not None else None for k in kept)
    return Stratum(title, tuple(len(k.cases) if k else 0 for k in kept), dice, tuple(differences))


def _only(rows: CaseScores, chosen: set[str]) -> CaseScores | None:
    keep = [i for i, case in enumerate(rows.cases) if case in chosen]
    if not keep:
        return None
    return CaseScores(tuple(rows.cases[i] for i in keep), rows.folds[keep], rows.dice[keep], rows.et_reference[keep])
