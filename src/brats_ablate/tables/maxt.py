"""One test over all columns of a table: step-down maxT (Westfall and Young, 1993; Romano and Wolf, 2005)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from brats_ablate.tables.statistics import LEVEL, POWER


@dataclass(frozen=True)
class MaxT:
    """Adjusted p-values, and what a single difference must reach."""

    p_adjusted: np.ndarray
    """(m,) adjusted over the m differences and the number of families."""
    critical: float
    """|t| that the largest of the m exceeds with probability 1 - `LEVEL` if no column differs."""


def step_down(
    t: np.ndarray, covariance: np.ndarray, degrees: float, *, draws: int, seed: int, families: int = 1
) -> MaxT:
    """Adjust `t`, (m,) |difference| / standard error, for the largest of correlated t statistics.

    Of one column, alone in the table or the last of the steps, that is Student's t, which needs no draws.

    Args:
        t: without NaN.
        covariance: (m, m) of the differences; only its correlations count.
        degrees: degrees of freedom of the standard errors.
        draws: random draws from the joint distribution.
        seed: of the draws.
        families: how many such tests the table has (Bonferroni).
    """
    from scipy.special import stdtr, stdtrit

    m, level = len(t), (1 - LEVEL) / families
    draw = np.random.default_rng(seed)
    sd = np.sqrt(np.diag(covariance))
    values, vectors = np.linalg.eigh(covariance / np.outer(sd, sd))
    root = vectors * np.sqrt(np.maximum(values, 0))
    z = np.abs(draw.standard_normal((draws, m)) @ root.T)
    drawn = z / np.sqrt(draw.chisquare(degrees, size=(draws, 1)) / degrees)
    order = np.argsort(-t, kind="stable")
    largest = np.maximum.accumulate(drawn[:, order][:, ::-1], axis=1)[:, ::-1]
    p = (1 + (largest >= t[order]).sum(axis=0)) / (draws + 1)
    p[-1] = 2 * stdtr(degrees, -t[order[-1]])
    adjusted = np.empty(m)
    adjusted[order] = np.minimum(1, families * np.maximum.accumulate(p))
    critical = stdtrit(degrees, 1 - level / 2) if m == 1 else np.quantile(largest[:, 0], 1 - level)
    return MaxT(adjusted, float(critical))


def power(difference: float, variance: float, degrees: float, critical: float) -> float:
    """Return the probability that |t| exceeds `critical` for a true `difference` with `variance`."""
    from scipy.special import nctdtr

    return float(1 - nctdtr(degrees, abs(difference) / math.sqrt(variance), critical))


def minimum_detectable_effect(variance: float, degrees: float, critical: float) -> float:
    """Return the difference that is detected with probability `POWER`; the inverse of `power`."""
    from scipy.special import nctdtrinc

    return float(nctdtrinc(degrees, 1 - POWER, critical)) * math.sqrt(variance)
