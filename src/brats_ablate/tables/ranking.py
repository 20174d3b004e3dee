"""The BraTS ranking of several methods from their per-case scores, with tests and bootstrap intervals.

The method of the challenge (Bakas et al. 2018, arXiv:1811.02629; the paper's table 5): rank the methods for every case,
region and metric, average a method's ranks, divide by the number of methods. Lower is better.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, zip_longest
from pathlib import Path

import numpy as np
from pandas import DataFrame, MultiIndex

from brats_ablate.errors import DataError
from brats_ablate.tables.results import PatientOf
from brats_ablate.tables.statistics import Interval, holm
from brats_ablate.tables.table import Absent, Bounds, Number, Row, Table, Words, headers
from brats_ablate.tables.writers import write_csv

LOWER, HIGHER = "lower", "higher"
BETTER: Mapping[str, str] = {
    **dict.fromkeys(("dice", "nsd", "sensitivity", "specificity"), HIGHER),
    **dict.fromkeys(("lesion_dice", "lesion_nsd", "lesions_found"), HIGHER),
    **dict.fromkeys(("lesion_precision", "lesion_recall", "lesion_f1"), HIGHER),
    **dict.fromkeys(("hd95", "lesion_hd95", "lesions_missed", "lesions_invented"), LOWER),
}
"""Which values of our metrics rank first."""
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
    """(methods, 2) 95 % bootstrap interval of `scores`, over patients."""
    p_first: np.ndarray
    """(methods,) share of the bootstrap samples in which the method has rank 1; ties shared."""
    rank_intervals: np.ndarray
    """(methods, 2) 95 % bootstrap interval of the method's rank, 1 the best."""

    @property
    def order(self) -> list[int]:
        """The methods' indices, best first."""
        return [int(i) for i in np.argsort(self.ranks, kind="stable")]

    @property
    def ranks(self) -> np.ndarray:
        """(methods,) rank by score, 1 the best; the mean rank of equal scores."""
        return mean_ranks(self.scores)


def common_cases(rows_of: Mapping[str, DataFrame]) -> list[str]:
    """Return the cases of every method, sorted.

    Raises:
        DataError: a method has a case that the first one lacks, or the reverse.
    """
    (first, rows), *others = rows_of.items()
    reference = set(rows["case"])
    for name, others_rows in others:
        different = sorted(reference ^ set(others_rows["case"]))
        if different:
            complete, incomplete = (first, name) if different[0] in reference else (name, first)
            raise DataError(
                f"{incomplete} has no scores of {different[0]}, which {complete} has ({len(different)} such cases); a "
                "ranking needs the same cases of every method"
            )
    return sorted(reference)


def score_array(
    name: str, rows: DataFrame, cases: Sequence[str], regions: Sequence[str], metrics: Sequence[str]
) -> np.ndarray:
    """Return a method's values as (cases, regions, metrics).

    Raises:
        DataError: a value is missing.
    """
    columns = MultiIndex.from_product([regions, metrics])
    wide = rows.pivot_table("value", "case", ["region", "metric"], aggfunc="last").reindex(list(cases), columns=columns)
    for region, metric in columns[wide.isna().any()]:
        raise DataError(
            f"{name} has no {metric} of {region} for every case, and a case without it cannot be ranked; run "
            "job=evaluate for it again, with metrics that define every score, e.g. metrics=brats2023"
        )
    return wide.to_numpy(float).reshape(len(cases), len(regions), len(metrics))


def rank_methods(
    values: Mapping[str, np.ndarray],
    cases: Sequence[str],
    better: Sequence[str],
    *,
    resamples: int,
    seed: int,
    patient_of: PatientOf = str,
) -> Ranking:
    """Rank methods; every case counts alike.

    Args:
        values: by method, (cases, regions, metrics), without missing values.
        cases: their ids.
        better: which values of each metric rank first, `LOWER` or `HIGHER`.
        resamples: of the permutation test and of the bootstrap.
        seed: of both.
        patient_of: the scans of a patient depend on each other, so test and bootstrap draw patients, not cases.

    Raises:
        ValueError: fewer than two methods.
    """
    if len(values) < 2:
        raise ValueError("a ranking needs at least two methods")
    sign = np.array([1.0 if direction == LOWER else -1.0 for direction in better])
    stacked = np.stack(list(values.values()))
    ranks = mean_ranks(stacked * sign, digits=9)
    per_case = ranks.mean(axis=(2, 3)).T
    patients, patient = np.unique([patient_of(case) for case in cases], return_inverse=True)
    of_patient = np.zeros((len(patients), len(values)))
    np.add.at(of_patient, patient, per_case)
    samples = _bootstrap_means(of_patient, np.bincount(patient), resamples, seed)
    sample_ranks = mean_ranks(samples.T).T
    best = np.isclose(samples, samples.min(axis=1, keepdims=True), rtol=0, atol=1e-12)
    n = len(values)
    return Ranking(
        methods=tuple(values),
        cases=tuple(cases),
        scores=per_case.mean(axis=0) / n,
        per_case=per_case,
        p_values=_permutation_p_values(of_patient, resamples, seed),
        intervals=np.quantile(samples, [0.025, 0.975], axis=0).T / n,
        p_first=(best / best.sum(axis=1, keepdims=True)).mean(axis=0),
        rank_intervals=np.quantile(sample_ranks, [0.025, 0.975], axis=0).T,
    )


def mean_ranks(values: np.ndarray, digits: int = 12) -> np.ndarray:
    """Return the ranks along the first axis, 1 the lowest; values that differ by rounding alone are ties."""
    from scipy.stats import rankdata

    ranks: np.ndarray = rankdata(np.round(values, digits), method="average", axis=0)
    return ranks


def _permutation_p_values(of_patient: np.ndarray, resamples: int, seed: int) -> np.ndarray:
    """Test each pair: swap two methods' ranks at random within patients and count differences as large as observed.

    Like the challenge's test, but two-sided, the observed order counted among the permutations, so that p is never 0
    (Phipson and Smyth 2010), and adjusted for the number of pairs (Holm 1979). `of_patient` are (patients, methods)
    sums over a patient's cases.
    """
    n = of_patient.shape[1]
    i, j = np.triu_indices(n, 1)
    differences = of_patient[:, i] - of_patient[:, j]
    observed = np.abs(differences.sum(axis=0))
    generator = np.random.default_rng([seed, 1])
    extreme = np.zeros(len(i))
    for start in range(0, resamples, _CHUNK):
        signs = generator.choice([-1.0, 1.0], size=(min(_CHUNK, resamples - start), len(of_patient)))
        extreme += (np.abs(signs @ differences) >= observed - 1e-9).sum(axis=0)
    p_values = np.ones((n, n))
    p_values[i, j] = p_values[j, i] = holm((1 + extreme) / (1 + resamples))
    return p_values


def _bootstrap_means(of_patient: np.ndarray, cases: np.ndarray, resamples: int, seed: int) -> np.ndarray:
    """Return (resamples, methods) mean ranks over the cases of patients drawn with replacement; ranks are per case.

    `of_patient` are (patients, methods) sums of ranks over the `cases` of each patient.
    """
    n = len(of_patient)
    generator = np.random.default_rng([seed, 2])
    parts = []
    for start in range(0, resamples, _CHUNK):
        weights = generator.multinomial(n, np.full(n, 1 / n), size=min(_CHUNK, resamples - start))
        parts.append(weights @ of_patient / (weights @ cases)[:, None])
    return np.concatenate(parts)


def write_ranking(ranking: Ranking, folder: Path) -> None:
    """Write `ranking.csv` (a row per method, best first) and `ranking_pairs.csv` (a row per pair)."""
    order = ranking.order
    methods = [ranking.methods[i] for i in order]
    (low, high), (rank_low, rank_high) = ranking.intervals[order].T, ranking.rank_intervals[order].T
    places = [f"{rank:g}" for rank in ranking.ranks[order]]
    rows = DataFrame({"place": places, "method": methods, "score": ranking.scores[order]})
    rows = rows.assign(low=low, high=high, first=ranking.p_first[order])
    rows = rows.assign(place_low=rank_low, place_high=rank_high, cases=len(ranking.cases))
    write_csv(rows.round(6), folder / "ranking.csv")
    i, j = np.array(list(combinations(order, 2))).T
    names = np.array(ranking.methods)
    pairs = DataFrame({"better": names[i], "worse": names[j], "difference": ranking.scores[j] - ranking.scores[i]})
    write_csv(pairs.assign(p_holm=ranking.p_values[i, j]).round(6), folder / "ranking_pairs.csv")


def _probability(p: float) -> str:
    """Format as a percentage; 0 % and 100 % are exact."""
    return "<1%" if 0 < p < 0.005 else ">99%" if 0.995 <= p < 1 else f"{p:.0%}"


def ranking_table(ranking: Ranking, metrics: Sequence[str], notes: Sequence[str] = ()) -> Table:
    """Return the ranking, best first; the last column tests each method against the next."""
    heads = headers("", "rank", "score", "95 % CI", "95 % CI of rank", "P(rank 1)", "p vs next")
    rows: list[Row] = []
    for i, following in zip_longest(ranking.order, ranking.order[1:]):
        score = Number(float(ranking.scores[i]), "{:.3f}".format)
        interval = Bounds(Interval(*ranking.intervals[i].tolist()), "{:.3f}".format, "{}–{}")
        rank_interval = Bounds(Interval(*ranking.rank_intervals[i].tolist()), "{:g}".format, "{}–{}")
        p_first = Number(float(ranking.p_first[i]), _probability)
        p = Absent("") if following is None else Number(float(ranking.p_values[i, following]), "{:.4f}".format)
        rows.append(
            (
                Words(ranking.methods[i]),
                Number(float(ranking.ranks[i]), "{:g}".format),
                score,
                interval,
                rank_interval,
                p_first,
                p,
            )
        )
    title = f"Ranking over {len(ranking.cases)} cases by {', '.join(metrics)}; lower is better"
    return Table("ranking", title, heads, tuple(rows), tuple(notes))
