"""The BraTS ranking of any number of methods from their per-case scores, with what can be said for it.

rows of several methods ─ranking→ a score each, permutation tests between them, and how stable the order is. The method
of the challenge (Bakas et al. 2018, arXiv:1811.02629; the paper's table 5): rank the methods for every case, region and
metric, average a method's ranks, divide by the number of methods. Lower is better.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from brats_ablate.tables.statistics import holm

LOWER_IS_BETTER = frozenset({"hd95", "lesion_hd95"})
_CHUNK = 1000


@dataclass(frozen=True)
class Ranking:
    """Methods in the order of their names; sort by `scores` for the table."""

    methods: tuple[str, ...]
    cases: tuple[str, ...]
    scores: np.ndarray
    """(methods,) mean rank over cases, regions and metrics, divided by the number of methods; in (0, 1]."""
    per_case: np.ndarray
    """(cases, methods) each case's mean rank, 1 the best."""
    p_values: np.ndarray
    """(methods, methods) two-sided permutation p that the two are interchangeable, Holm-adjusted over all pairs."""
    intervals: np.ndarray
    """(methods, 2) 95 % bootstrap interval of `scores`, over cases."""
    first: np.ndarray
    """(methods,) part of the bootstrap samples in which the method is first; ties shared."""
    places: np.ndarray
    """(methods, 2) 95 % bootstrap interval of the method's place, 1 the best."""


def rank_methods(
    values: Mapping[str, np.ndarray], cases: Sequence[str], metrics: Sequence[str], *, resamples: int, seed: int
) -> Ranking:
    """Rank methods.

    Args:
        values: by method, (cases, regions, metrics), without missing values, cases in the same order.
        cases: their names.
        metrics: the last axis; `LOWER_IS_BETTER` says which way each is read.
        resamples: of the permutation test and of the bootstrap.
        seed: of both.

    Raises:
        ValueError: fewer than two methods.
    """
    from scipy.stats import rankdata

    if len(values) < 2:
        raise ValueError("a ranking needs at least two methods")
    sign = np.array([1.0 if metric in LOWER_IS_BETTER else -1.0 for metric in metrics])
    stacked = np.stack(list(values.values()))
    # Scores equal to the last digits that a file holds are ties, not an order.
    ranks = rankdata(np.round(stacked * sign, 9), method="average", axis=0)
    per_case = ranks.mean(axis=(2, 3)).T
    samples = _bootstrap_means(per_case, resamples, seed)
    places = rankdata(np.round(samples, 12), method="average", axis=1)
    best = np.isclose(samples, samples.min(axis=1, keepdims=True), rtol=0, atol=1e-12)
    n = len(values)
    return Ranking(
        methods=tuple(values),
        cases=tuple(cases),
        scores=per_case.mean(axis=0) / n,
        per_case=per_case,
        p_values=_permutation_p_values(per_case, resamples, seed),
        intervals=np.quantile(samples, [0.025, 0.975], axis=0).T / n,
        first=(best / best.sum(axis=1, keepdims=True)).mean(axis=0),
        places=np.quantile(places, [0.025, 0.975], axis=0).T,
    )


def _permutation_p_values(per_case: np.ndarray, resamples: int, seed: int) -> np.ndarray:
    """Swap two methods' ranks at random within cases: how often is the mean difference as large as found?

    As the challenge's test, but two-sided, the observed order counted among the permutations, so that p is never 0
    (Phipson and Smyth 2010), and adjusted for the number of pairs (Holm 1979).
    """
    n = per_case.shape[1]
    pairs = [(i, j) for i in range(n) for j in range(i + 1, n)]
    differences = np.stack([per_case[:, i] - per_case[:, j] for i, j in pairs], axis=1)
    observed = np.abs(differences.sum(axis=0))
    generator = np.random.default_rng([seed, 1])
    extreme = np.zeros(len(pairs))
    for start in range(0, resamples, _CHUNK):
        signs = generator.choice([-1.0, 1.0], size=(min(_CHUNK, resamples - start), len(per_case)))
        extreme += (np.abs(signs @ differences) >= observed - 1e-9).sum(axis=0)
    adjusted = holm((1 + extreme) / (1 + resamples))
    p_values = np.ones((n, n))
    for (i, j), p in zip(pairs, adjusted, strict=True):
        p_values[i, j] = p_values[j, i] = p
    return p_values


def _bootstrap_means(per_case: np.ndarray, resamples: int, seed: int) -> np.ndarray:
    """(resamples, methods) mean ranks over cases drawn with replacement. A case's ranks do not depend on the others."""
    n = len(per_case)
    generator = np.random.default_rng([seed, 2])
    parts = []
    for start in range(0, resamples, _CHUNK):
        weights = generator.multinomial(n, np.full(n, 1 / n), size=min(_CHUNK, resamples - start))
        parts.append(weights @ per_case / n)
    return np.concatenate(parts)
