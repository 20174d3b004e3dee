"""Paired statistics on per-case and per-fold scores. Pure functions of arrays; used by `comparison`.

All columns of a table are resampled together, as one matrix product of resamples × cases with cases × columns; that is
why bootstrap and permutation are not scipy's (the tests compare them with scipy's). The distributions are scipy's.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

LEVEL = 0.95
"""Nominal coverage of intervals; one minus the significance level."""
POWER = 0.8
_EXACT_CASES = 13
"""Up to this many cases all 2^n sign patterns are enumerated."""


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


def permutation_p_values(differences: np.ndarray, resamples: int, seed: int) -> np.ndarray:
    """Compute the two-sided paired permutation (sign-flip) p of a mean difference of zero, (columns,).

    Exact up to 13 cases, else (1 + #{as extreme}) / (1 + resamples) (Phipson and Smyth, 2010). `differences` is
    (cases, columns), the same cases in every column; p is 1 where all are zero.
    """
    n = len(differences)
    scale = np.abs(differences).sum(axis=0)
    scaled = differences / np.where(scale > 0, scale, 1)
    observed = np.abs(scaled.sum(axis=0))
    exact = n <= _EXACT_CASES
    permuted = _all_signs(n) @ scaled if exact else _signs(n, resamples, seed) @ scaled.astype(np.float32)
    extreme = (np.abs(permuted) >= observed - 1e-6).sum(axis=0)
    return np.asarray(extreme / len(permuted) if exact else (1 + extreme) / (1 + len(permuted)))


def corrected_t_p_value(fold_differences: np.ndarray, folds: int) -> float:
    """Compute the two-sided p of the corrected resampled t-test over folds (Nadeau and Bengio, 2003).

    The variance of the mean is (1/J + n_test/n_train) s², with n_test/n_train = 1/(folds - 1): the folds share most of
    their training cases, so that s²/J would be too small. `fold_differences` is (J,), one per fold that both columns
    have. Returns NaN with fewer than two; 1 if all differences are zero, 0 if they are equal and not zero.
    """
    J = len(fold_differences)
    if J < 2:
        return math.nan
    mean, sd = float(np.mean(fold_differences)), float(np.std(fold_differences, ddof=1))
    if sd <= 1e-12:
        return 1.0 if abs(mean) <= 1e-12 else 0.0
    from scipy.special import stdtr

    t = mean / (sd * math.sqrt(1 / J + 1 / (folds - 1)))
    return float(2 * stdtr(J - 1, -abs(t)))


def holm(p_values: np.ndarray) -> np.ndarray:
    """Adjust p-values by Holm's (1979) step-down method; NaN entries stay NaN and do not count."""
    p = np.asarray(p_values, dtype=float)
    adjusted = np.full_like(p, np.nan)
    order = np.argsort(p, kind="stable")[: np.count_nonzero(~np.isnan(p))]  # NaN are last
    adjusted[order] = np.maximum.accumulate(np.minimum(1.0, p[order] * np.arange(len(order), 0, -1)))
    return adjusted


def required_sample_size(sd: float, difference: float) -> float:
    """Return the cases with which a paired two-sided test detects `difference` with probability `POWER`.

    Normal approximation. `sd` is that of the per-case difference.
    """
    if difference == 0:
        return math.inf
    return max(2.0, math.ceil((_z_sum() * sd / difference) ** 2))


def minimum_detectable_effect(sd: float, cases: int) -> float:
    """Return the smallest mean difference that `cases` cases detect; the inverse of `required_sample_size`."""
    return _z_sum() * sd / math.sqrt(cases) if cases else math.nan


def required_seeds(seed_sd: float, folds: int, difference: float) -> float:
    """Return the seeds per fold and column that detect `difference` of two means over folds with `POWER`."""
    if difference == 0:
        return math.inf
    return max(1.0, math.ceil(2 * (_z_sum() * seed_sd / difference) ** 2 / folds))


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


def pooled_seed_sd(components: list[Components]) -> float | None:
    """Pool the standard deviation of one fold's score over seeds; None without replicated seeds."""
    return math.sqrt(float(np.mean([c.seed_sd**2 for c in components]))) if components else None


def noise_floor(components: list[Components], folds: int) -> float | None:
    """Return the difference of two columns' means that other seeds alone exceed in 1 - `LEVEL` of repetitions.

    `components` are those of the columns that have replicated seeds; their seed variances are pooled.
    """
    if not components:
        return None
    from scipy.special import ndtri

    variance = float(np.mean([c.seed_sd**2 / c.replicates for c in components]))
    return float(ndtri((1 + LEVEL) / 2) * math.sqrt(2 * variance / folds))


def _z_sum() -> float:
    from scipy.special import ndtri

    return float(ndtri((1 + LEVEL) / 2) + ndtri(POWER))


@lru_cache(maxsize=2)
def _weights(n: int, resamples: int, seed: int) -> np.ndarray:
    """Count how often each case occurs in each bootstrap sample, (resamples, n) float32."""
    drawn = np.random.default_rng(seed).integers(n, size=(resamples, n), dtype=np.uint16 if n <= 2**16 else np.int64)
    weights = np.empty((resamples, n), dtype=np.float32)
    for row, cases in zip(weights, drawn, strict=True):
        row[:] = np.bincount(cases, minlength=n)
    return weights


@lru_cache(maxsize=2)
def _signs(n: int, resamples: int, seed: int) -> np.ndarray:
    """Draw (resamples, n) float32 of ±1."""
    bits = np.unpackbits(np.frombuffer(np.random.default_rng(seed).bytes((resamples * n + 7) // 8), dtype=np.uint8))
    return bits[: resamples * n].reshape(resamples, n).astype(np.float32) * 2 - 1


def _all_signs(n: int) -> np.ndarray:
    """Return all sign patterns, (2^n, n) of ±1."""
    return ((np.arange(2**n)[:, None] >> np.arange(n)) & 1) * 2.0 - 1.0
