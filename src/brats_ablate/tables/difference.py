"""Test the differences of columns: estimates, intervals, adjusted p-values and power."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from brats_ablate.tables import maxt
from brats_ablate.tables.statistics import LEVEL, UNKNOWN, Interval
from brats_ablate.tables.variance import FoldStatistics, Variances, estimate

_NO_VARIANCE = 1e-18
"""Variances of Dice up to this are rounding errors of equal scores."""
MOST_RUNS = 1000
"""More runs per fold and column than anybody trains."""


@dataclass(frozen=True)
class Settings:
    """How columns are compared."""

    folds: int
    """Of the cohort, all of them."""
    rope: float = 0.001
    """Differences of mean Dice up to this are negligible (region of practical equivalence)."""
    draws: int = 10_000
    """Of the joint distribution of the table's test statistics."""
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class Difference:
    """A difference of mean Dice between columns or means of columns. A number that cannot be estimated is NaN."""

    difference: float = math.nan
    """Mean over folds."""
    interval: Interval = UNKNOWN
    """95 %, not adjusted for the number of columns."""
    p_adjusted: float = math.nan
    """Of the step-down maxT test over the table."""
    run_differences: tuple[float, ...] = ()
    """Of each learning rate and seed."""
    variance: float = math.nan
    """Of `difference`."""
    case_variance: float = math.nan
    """The part that comes from the sample of patients; the rest comes from training."""
    degrees: float = math.nan
    """Degrees of freedom of the variance."""
    critical: float = math.nan
    """|t| from which the largest difference of a table is significant."""
    minimum_detectable_effect: float = math.nan
    """The true difference that is significant with 80 % power."""
    other_cohort: Interval = UNKNOWN
    """Interval with Nadeau and Bengio's correction of the training part."""
    noise_floor: float = math.nan
    """|Δ| that training alone exceeds in 5 % of repetitions where two recipes are equal."""
    variance_by_runs: tuple[float, float] | None = None
    """(a, b): with r runs per fold and column the variance would be a + b / r. None with fewer than two runs."""

    def runs_for(self, difference: float) -> int | None:
        """Return the fewest runs per fold and column that detect `difference` with 80 % power.

        None if no number does (up to 1,000), or if there are too few runs to know.
        """
        if self.variance_by_runs is None:
            return None
        fixed, per_run = self.variance_by_runs
        room = (difference / maxt.minimum_detectable_effect(1.0, self.degrees, self.critical)) ** 2 - fixed
        runs = max(1, math.ceil(per_run / room - 1e-9)) if room > 0 else MOST_RUNS + 1
        return runs if runs <= MOST_RUNS else None


def pair_contrasts(pairs: np.ndarray, columns: int) -> np.ndarray:
    """Return (m, columns) weights of the differences `pairs`, (m, 2) indices of column and baseline."""
    contrasts: np.ndarray = np.eye(columns)[pairs[:, 0]] - np.eye(columns)[pairs[:, 1]]
    return contrasts


def estimate_differences(
    statistics: FoldStatistics, contrasts: np.ndarray, settings: Settings, families: int = 1
) -> list[Difference]:
    """Estimate and test differences of columns, or of means of columns.

    Args:
        statistics: of k columns.
        contrasts: (m, k) weight of each column in each difference; 1 and -1 for a column and its baseline.
        settings: of the table; `statistics` may have fewer folds.
        families: number of such tests in the table; p-values are multiplied by it.

    Returns:
        One per contrast; p and interval are NaN where its scores do not vary over patients or folds.
    """
    v = estimate(statistics, contrasts)
    has_cases = statistics.inverse_patients > 0
    varies = (v.variance > _NO_VARIANCE) & (~has_cases | (np.diag(v.case_covariance) > _NO_VARIANCE))
    tested = np.flatnonzero(varies)
    if not len(tested):
        return [Difference(difference=float(d)) for d in v.differences]
    t = np.abs(v.differences[tested]) / np.sqrt(v.variance[tested])
    covariance = v.covariance[np.ix_(tested, tested)]
    result = maxt.step_down(t, covariance, v.degrees, draws=settings.draws, seed=settings.seed, families=families)
    p = np.full(len(contrasts), math.nan)
    p[tested] = result.p_adjusted
    return [
        _difference(v, i, float(p[i]), result.critical, settings.folds)
        if varies[i]
        else Difference(difference=float(v.differences[i]))
        for i in range(len(contrasts))
    ]


def _difference(v: Variances, i: int, p: float, critical: float, all_folds: int) -> Difference:
    from scipy.special import stdtrit

    quantile = float(stdtrit(v.degrees, (1 + LEVEL) / 2))
    delta, variance = float(v.differences[i]), float(v.variance[i])
    fixed, per_run = v.by_runs() if v.runs > 1 else (v.variance, v.variance)
    return Difference(
        difference=delta,
        interval=_around(delta, quantile * math.sqrt(variance)),
        p_adjusted=p,
        run_differences=tuple(v.run_differences[i].tolist()),
        variance=variance,
        case_variance=float(v.case_covariance[i, i]),
        degrees=v.degrees,
        critical=critical,
        minimum_detectable_effect=maxt.minimum_detectable_effect(variance, v.degrees, critical),
        other_cohort=_around(delta, quantile * math.sqrt(float(v.other_cohort(all_folds)[i]))),
        noise_floor=float(v.noise_floor[i]),
        variance_by_runs=(float(fixed[i]), float(per_run[i])) if v.runs > 1 else None,
    )


def _around(center: float, half: float) -> Interval:
    return Interval(center - half, center + half)
