"""Bootstrap intervals over cases, Holm's correction and variance components. Pure functions of arrays.

All columns are resampled together, as one matrix product of resamples × cases with cases × columns; that is why the
bootstrap is not scipy's (the tests compare it with scipy's). The distributions are scipy's.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

LEVEL = 0.95
"""Nominal coverage of intervals; one minus the significance level."""
POWER = 0.8


@dataclass(frozen=True)
class Interval:
    """A confidence interval; both ends are NaN where it cannot be estimated."""

    low: float
    high: float


UNKNOWN = Interval(math.nan, math.nan)


def bootstrap_intervals(differences: np.ndarray, resamples: int, seed: int) -> list[Interval]:
    """Compute paired bootstrap intervals of the mean difference, over cases.

    Symmetric intervals (Hall, 1988): the mean ± the quantile of its distance in the bootstrap samples. A case whose
    empty region flips gives the differences a heavy tail on either side, which biases percentile intervals
    (`docs/statistics.md`). The level is expanded for few cases (Hesterberg, 2015, "What teachers should know about
    the bootstrap", section 5.3): without it they are too short, by about sqrt((n - 1) / n) · z / t.

    `differences` is (cases, columns), column minus baseline, the same cases in every column. A seed resamples the same
    cases each time. Returns one interval per column, with NaN ends for fewer than two cases.
    """
    n = len(differences)
    if n < 2:
        return [UNKNOWN] * differences.shape[1]
    from scipy.special import ndtr, stdtrit

    centre = differences.mean(axis=0)
    spread = _weights(n, resamples, seed) @ (differences - centre).astype(np.float32) / n
    tail = ndtr(math.sqrt(n / (n - 1)) * stdtrit(n - 1, (1 - LEVEL) / 2))
    half = np.quantile(np.abs(spread.astype(np.float64)), 1 - 2 * tail, axis=0)
    return [Interval(float(a - b), float(a + b)) for a, b in zip(centre, half, strict=True)]


def t_interval(values: np.ndarray) -> Interval:
    """Compute Student's interval of the mean of independent values, (n,); NaN ends for fewer than two."""
    n = len(values)
    if n < 2:
        return UNKNOWN
    from scipy.special import stdtrit

    mean = float(values.mean())
    half = float(stdtrit(n - 1, (1 + LEVEL) / 2)) * float(values.std(ddof=1)) / math.sqrt(n)
    return Interval(mean - half, mean + half)


def holm(p_values: np.ndarray) -> np.ndarray:
    """Adjust p-values by Holm's (1979) step-down method; NaN entries stay NaN and do not count."""
    p = np.asarray(p_values, dtype=float)
    adjusted = np.full_like(p, np.nan)
    order = np.argsort(p, kind="stable")[: np.count_nonzero(~np.isnan(p))]  # NaN are last
    adjusted[order] = np.maximum.accumulate(np.minimum(1.0, p[order] * np.arange(len(order), 0, -1)))
    return adjusted


@dataclass(frozen=True)
class Components:
    """Variance components of one column: standard deviations between folds and between seeds of one fold."""

    fold_sd: float
    seed_sd: float
    replicates: float
    """Mean number of seeds per fold (harmonic)."""


def variance_components(groups: list[list[float]]) -> Components | None:
    """Separate folds from seeds by a one-way random-effects analysis of variance.

    `groups` are the scores of each fold's seeds. None unless at least two folds and one fold with two seeds exist.
    """
    groups = [g for g in groups if g]
    degrees = sum(len(g) - 1 for g in groups)
    if len(groups) < 2 or degrees == 0:
        return None
    within = sum(float(np.var(g)) * len(g) for g in groups) / degrees
    replicates = len(groups) / sum(1 / len(g) for g in groups)
    between = float(np.var([np.mean(g) for g in groups], ddof=1)) - within / replicates
    return Components(math.sqrt(max(between, 0.0)), math.sqrt(within), replicates)


@lru_cache(maxsize=2)
def _weights(n: int, resamples: int, seed: int) -> np.ndarray:
    """Count how often each case occurs in each bootstrap sample, (resamples, n) float32."""
    drawn = np.random.default_rng(seed).integers(n, size=(resamples, n), dtype=np.uint16 if n <= 2**16 else np.int64)
    weights = np.empty((resamples, n), dtype=np.float32)
    for row, cases in zip(weights, drawn, strict=True):
        row[:] = np.bincount(cases, minlength=n)
    return weights
