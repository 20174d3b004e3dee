"""Compare the columns of a table with their baseline: differences, confidence intervals, tests and verdicts.

A column is called better or worse only if it is significant both over cases (paired permutation test, Holm-corrected
over the columns of the table) and over folds (corrected t-test, Holm-corrected over the columns that are significant
over cases). The paper's own differences are a few ten-thousandths; either test alone has too many false positives
(`docs/statistics.md` has the simulation).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

import numpy as np
import pandas as pd
from pandas import DataFrame, Series

from brats_ablate.labels.scheme import LabelScheme
from brats_ablate.tables import statistics
from brats_ablate.tables.scores import FoldScores
from brats_ablate.tables.statistics import UNKNOWN, Interval

ALPHA = 0.05
SMALL_VOXELS = 500
"""An enhancing tumor below this, or another region that cases are grouped by, is "small": its Dice depends on a few
voxels (1 mm³ each in BraTS)."""

BETTER: Final = "better"
WORSE: Final = "worse"
SAME: Final = "not distinguishable"
UNDECIDED: Final = "not decided"
Verdict = Literal["better", "worse", "not distinguishable", "not decided"]


@dataclass(frozen=True)
class Comparison:
    """One column compared with its baseline. Differences are column minus baseline, in mean Dice of the regions."""

    column: int
    baseline: int
    cases: int = 0
    """Cases that both have."""
    difference: float = math.nan
    """Mean over these cases."""
    interval: Interval = UNKNOWN
    p_cases: float = math.nan
    p_holm: float = math.nan
    fold_differences: tuple[float, ...] = ()
    p_folds: float = math.nan
    p_folds_holm: float = math.nan
    """Corrected over the columns of the table that are significant over cases; NaN for the others."""
    case_sd: float = math.nan
    """Standard deviation of the per-case difference."""
    verdict: Verdict = UNDECIDED
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
    def minimum_detectable_effect(self) -> float:
        """The smallest difference that this number of cases detects with 80 % power."""
        return statistics.minimum_detectable_effect(self.case_sd, self.cases)

    @property
    def required_cases(self) -> float:
        """Cases that detect the observed difference with 80 % power."""
        return statistics.required_sample_size(self.case_sd, self.difference) if self.cases > 1 else math.nan


@dataclass(frozen=True)
class Stratum:
    """One column on one subgroup of cases."""

    title: str
    column: int
    cases: int
    dice: np.ndarray
    """(R,) mean Dice of the regions."""
    difference: float = math.nan
    """To the baseline, over the cases that both have."""
    interval: Interval = UNKNOWN


def compare(
    pairs: Sequence[tuple[int, int | None]],
    scores: Sequence[FoldScores],
    rows: Sequence[DataFrame],
    *,
    regions: Sequence[str],
    folds: int,
    resamples: int,
    seed: int,
) -> list[Comparison]:
    """Compare each (column, baseline) of `pairs`; a column without baseline is left out.

    `scores` are the columns' folds, `rows` their `results.case_scores`, `regions` those of the mean.
    """
    comparisons = []
    for column, baseline in pairs:
        if baseline is None:
            continue
        both = zip(scores[column].values, scores[baseline].values, strict=True)
        by_fold = tuple(a - b for a, b in both if a is not None and b is not None)
        p_folds = statistics.corrected_t_p_value(np.array(by_fold), folds)
        comparisons.append(Comparison(column, baseline, fold_differences=by_fold, p_folds=p_folds))
    comparisons = _over_cases(comparisons, rows, regions, resamples, seed)
    p_holm = statistics.holm(np.array([c.p_cases for c in comparisons]))
    significant_p_folds = [c.p_folds if p <= ALPHA else math.nan for c, p in zip(comparisons, p_holm, strict=True)]
    p_folds_holm = statistics.holm(np.array(significant_p_folds))
    return [
        _decide(replace(c, p_holm=float(p), p_folds_holm=float(q)), folds)
        for c, p, q in zip(comparisons, p_holm, p_folds_holm, strict=True)
    ]


def paired_differences(column: DataFrame, baseline: DataFrame, regions: Sequence[str]) -> tuple[list[str], np.ndarray]:
    """Return the cases that both have, and (cases, regions) the differences of their Dice."""
    if not column.index.equals(baseline.index):
        cases = column.index.intersection(baseline.index)
        column, baseline = column.loc[cases], baseline.loc[cases]
    return column.index.tolist(), column[list(regions)].to_numpy() - baseline[list(regions)].to_numpy()


def _over_cases(
    comparisons: list[Comparison], rows: Sequence[DataFrame], regions: Sequence[str], resamples: int, seed: int
) -> list[Comparison]:
    """Fill in what is computed over cases; columns with the same cases are resampled together."""
    groups: dict[tuple[str, ...], list[tuple[int, np.ndarray]]] = {}
    for i, c in enumerate(comparisons):
        common, differences = paired_differences(rows[c.column], rows[c.baseline], regions)
        groups.setdefault(tuple(common), []).append((i, differences.mean(axis=1)))
    filled = list(comparisons)
    groups.pop((), None)
    for cases, group in groups.items():
        means = np.stack([values for _, values in group], axis=1)
        intervals = statistics.bootstrap_intervals(means, resamples, seed)
        p_values = statistics.permutation_p_values(means, resamples, seed)
        for (i, values), interval, p in zip(group, intervals, p_values, strict=True):
            sd = float(values.std(ddof=1)) if len(cases) > 1 else math.nan
            of_cases = replace(comparisons[i], cases=len(cases), difference=float(values.mean()), case_sd=sd)
            filled[i] = replace(of_cases, interval=interval, p_cases=float(p))
    return filled


def _decide(c: Comparison, folds: int) -> Comparison:
    shared = len(c.fold_differences)
    if shared == 0:
        return replace(c, reason="no common finished folds")
    if c.cases == 0:
        return replace(c, reason="the runs have no per-case rows")
    if c.cases == 1:
        return replace(c, reason="one case is not enough for a test")
    if shared < 2:
        return replace(c, reason="one fold does not show run-to-run variability")
    partial = "" if shared == folds else f"; {shared} of {folds} folds"
    if c.case_sd == 0 and c.difference == 0:
        return replace(c, verdict=SAME, reason=f"every case scores the same{partial}")
    if c.p_holm <= ALPHA and c.p_folds_holm <= ALPHA and c.difference * c.fold_difference > 0:
        verdict: Verdict = BETTER if c.difference > 0 else WORSE
        return replace(c, verdict=verdict, reason=f"significant over cases and folds{partial}")
    over = "folds" if c.p_holm <= ALPHA else "cases" if c.p_folds <= ALPHA else "cases or folds"
    return replace(c, verdict=SAME, reason=f"not significant over {over}{partial}")


def strata(
    pairs: Sequence[tuple[int, int | None]],
    rows: Sequence[DataFrame],
    *,
    labels: LabelScheme,
    resamples: int,
    seed: int,
) -> list[Stratum]:
    """Compare on cases without ET, with a small and with a larger one, by subgroup and column.

    Other label schemes group by another region (`LabelScheme.sized_region`). A column is left out where it has no such
    case. [] if no volume is recorded.
    """
    region = labels.sized_region
    sizes = pd.concat([Series(dtype=float), *(scores["reference_voxels"] for scores in rows if len(scores))]).dropna()
    subgroups = {
        f"no {region}": sizes == 0,
        f"{region} < {SMALL_VOXELS} voxels": (sizes > 0) & (sizes < SMALL_VOXELS),
        f"{region} ≥ {SMALL_VOXELS} voxels": sizes >= SMALL_VOXELS,
    }
    stratified = []
    for title, is_member in subgroups.items():
        kept = [scores[scores.index.isin(sizes.index[is_member])] for scores in rows if is_member.any()]
        for column, baseline in pairs if kept else ():
            scores = kept[column]
            if scores.empty:
                continue
            stratum = Stratum(title, column, len(scores), scores[list(labels.regions)].to_numpy().mean(axis=0))
            reference = scores.iloc[:0] if baseline is None else kept[baseline]
            means = paired_differences(scores, reference, labels.averaged_names)[1].mean(axis=1, keepdims=True)
            if len(means):
                interval = statistics.bootstrap_intervals(means, resamples, seed)[0]
                stratum = replace(stratum, difference=float(means.mean()), interval=interval)
            stratified.append(stratum)
    return stratified
