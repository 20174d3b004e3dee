"""Student's interval, Holm's correction and variance components. Pure functions of arrays."""

from __future__ import annotations

import math
from dataclasses import dataclass

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


def variance_components(groups: list[list[float]]) -> Components | None:
    """Separate folds from seeds by a one-way random-effects analysis of variance.

    `groups` are the scores of each fold's seeds. None unless at least two folds and one fold with two seeds exist.
    """
    groups = [g for g in groups if g]
    degrees = sum(len(g) - 1 for g in groups)
    if len(groups) < 2 or degrees == 0:
        return None
    within = sum(float(np.var(g)) * len(g) for g in groups) / degrees
    replicates = len(groups) / sum(1 / len(g) for g in groups)  # the harmonic mean
    between = float(np.var([np.mean(g) for g in groups], ddof=1)) - within / replicates
    return Components(math.sqrt(max(between, 0.0)), math.sqrt(within))
