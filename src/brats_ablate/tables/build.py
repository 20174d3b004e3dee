"""Build one table's numbers: scores of its columns, comparisons, costs. `tabulate` and the report show them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np
from pandas import DataFrame

from brats_ablate.labels.scheme import LabelScheme
from brats_ablate.tables import statistics
from brats_ablate.tables.comparison import Comparison, Stratum, compare, strata
from brats_ablate.tables.cost import Cost, cost_of
from brats_ablate.tables.evaluated import PatientOf, by_kind, compare_evaluated
from brats_ablate.tables.evaluation_record import EvaluationRecord, read_record
from brats_ablate.tables.outside_folds import OutsideFolds, scores_outside_folds
from brats_ablate.tables.results import case_rows, case_scores, evaluated_dice, evaluated_hd95, read_rows
from brats_ablate.tables.scores import ColumnScores, FoldScore, FoldScores, RunSummary, score
from brats_ablate.tables.spec import Column, TableSpec
from brats_ablate.tables.statistics import Components

RUN_COORDINATES = frozenset({"fold", "lr", "seed", "name"})
"""Keys of a run's identity in which the runs of one table always differ."""


@dataclass(frozen=True)
class ColumnResult:
    """All numbers of one column."""

    column: Column
    scores: ColumnScores
    rows: DataFrame
    """The case rows (`results.COLUMNS`) behind the scores of the folds; empty for an evaluation."""
    case_scores: DataFrame
    """As of `results.case_scores`."""
    cost: Cost
    components: Components | None
    evaluation: EvaluationRecord | None = None
    """Of the column, or of an experiment that was also evaluated under its own name."""
    hd95: DataFrame = field(default_factory=DataFrame)
    """As of `results.evaluated_hd95`, from that evaluation."""

    @property
    def has_any(self) -> bool:
        return bool(self.scores.runs) or not self.case_scores.empty


@dataclass(frozen=True)
class TableResult:
    """All numbers of one table."""

    spec: TableSpec
    folds: int
    columns: tuple[ColumnResult, ...]
    comparisons: tuple[Comparison, ...]
    paper_p_folds: tuple[float, ...]
    """Per column, the corrected t-test on the paper's printed folds, NaN where there are none."""
    strata: tuple[Stratum, ...]
    test_sets: tuple[OutsideFolds, ...]
    noise_floor: float | None
    labels: LabelScheme
    """Regions of the scores."""
    ranking: tuple[tuple[str, float], ...] = ()
    """Our methods' ranking scores, best first."""

    @property
    def has_any(self) -> bool:
        return any(column.has_any for column in self.columns) or bool(self.ranking)


@dataclass(frozen=True)
class ResultsStore:
    """Where a table's numbers come from."""

    runs: Mapping[str, Sequence[RunSummary]]
    """Experiment -> its runs."""
    evaluation: Path
    """Folder of the files that `job=evaluate` and `job=rank` write."""
    fold_of_case: Mapping[str, int]
    """From the prepared cohort; {} where it is not prepared."""
    labels: LabelScheme
    patient_of: PatientOf = str
    """For the comparison of evaluations; by default every case is a patient of its own."""


def build(
    specs: Sequence[TableSpec], store: ResultsStore, *, folds: int, resamples: int, seed: int
) -> list[TableResult]:
    """Build tables from what exists; a column that several of them share is read once."""
    sources = {column.source: column for spec in specs for column in spec.columns}
    columns = {source: _column(column, store, folds) for source, column in sources.items()}
    ranking = _our_ranking(store.evaluation / "ranking.csv") if any(spec.ranking for spec in specs) else ()
    tables = [_table(spec, columns, store, folds, resamples, seed) for spec in specs]
    return [replace(table, ranking=ranking) if table.spec.ranking else table for table in tables]


def _table(
    spec: TableSpec,
    of_source: Mapping[str, ColumnResult],
    store: ResultsStore,
    folds: int,
    resamples: int,
    seed: int,
) -> TableResult:
    columns = tuple(replace(of_source[column.source], column=column) for column in spec.columns)
    pairs = [(i, spec.baseline_of(i)) for i in range(len(columns))]
    scores, rows = [c.scores.per_fold_lr for c in columns], [c.case_scores for c in columns]
    components = [c.components for c in columns if c.components is not None]
    labels, regions = store.labels, store.labels.averaged_names
    trained, others = by_kind(pairs, spec.columns)
    compared = compare(trained, scores, rows, regions=regions, folds=folds, resamples=resamples, seed=seed)
    compared += compare_evaluated(others, spec.columns, rows, regions=regions, patient_of=store.patient_of)
    return TableResult(
        spec=spec,
        folds=folds,
        columns=columns,
        comparisons=tuple(sorted(compared, key=attrgetter("column"))),
        paper_p_folds=tuple(_paper_p(spec, column, baseline) for column, baseline in pairs),
        strata=tuple(strata(pairs, rows, labels=labels, resamples=resamples, seed=seed)),
        test_sets=tuple(scores_outside_folds(rows, labels, resamples=resamples, seed=seed)),
        noise_floor=statistics.noise_floor(components, folds),
        labels=labels,
    )


def _column(column: Column, store: ResultsStore, folds: int) -> ColumnResult:
    result = _trained(column, store, folds) if column.evaluation is None else _evaluated(column, store, folds)
    file = store.evaluation / f"{column.evaluation or column.experiment}.csv"
    if not file.exists():
        return result
    return replace(result, evaluation=read_record(file), hd95=evaluated_hd95(file, store.labels.region_names))


def _trained(column: Column, store: ResultsStore, folds: int) -> ColumnResult:
    runs = store.runs.get(column.experiment or "", ())
    scores = score(runs, folds)
    rows = case_rows(scores.per_fold_lr.runs)
    seeds = [[run.best["dice"] for run in fold.runs] for fold in scores.per_fold_lr.folds]
    components = statistics.variance_components(seeds)
    return ColumnResult(column, scores, rows, case_scores(rows, store.labels.region_names), cost_of(runs), components)


def _evaluated(column: Column, store: ResultsStore, folds: int) -> ColumnResult:
    """Score a column of `job=evaluate`: a fold's score is the mean over its cases."""
    file = store.evaluation / f"{column.evaluation}.csv"
    rows, regions = case_rows([]), store.labels.region_names
    scores = case_scores(evaluated_dice(file, store.fold_of_case, regions) if file.exists() else rows, regions)
    mean_dice = scores[list(store.labels.averaged_names)].mean(axis=1)
    by_fold = [mean_dice[scores["fold"] == fold] for fold in range(folds)]
    missing = FoldScore("missing", note="no evaluated case")
    of_folds = FoldScores(tuple(FoldScore("finished", float(d.mean())) if len(d) else missing for d in by_fold))
    return ColumnResult(column, ColumnScores(of_folds, None, (), ()), rows, scores, cost_of([]), None)


def _our_ranking(file: Path) -> tuple[tuple[str, float], ...]:
    """Read the scores that `job=rank` wrote, best first."""
    if not file.exists():
        return ()
    rows = read_rows(file, ["method"], "score", "job=rank").sort_values("score", kind="stable")
    return tuple(zip(rows["method"], rows["score"], strict=True))


def _paper_p(spec: TableSpec, column: int, baseline: int | None) -> float:
    ours = spec.columns[column].paper
    reference = None if baseline is None else spec.columns[baseline].paper
    if ours is None or reference is None or len(ours.folds) != len(reference.folds):
        return float("nan")
    return statistics.corrected_t_p_value(np.subtract(ours.folds, reference.folds), len(ours.folds))


def mixed_settings(runs: Sequence[RunSummary]) -> list[str]:
    """Return the settings in which the runs of one experiment differ, each as "key (a, b)"; there should be none."""
    values: dict[str, list[Any]] = {}
    for run in runs:
        for key, value in (run.manifest.get("identity") or {}).items():
            if key not in RUN_COORDINATES and value not in values.setdefault(key, []):
                values[key].append(value)
    return [f"{key} ({', '.join(map(str, several))})" for key, several in sorted(values.items()) if len(several) > 1]


def differing_settings(runs: Sequence[RunSummary], baseline: Sequence[RunSummary]) -> list[tuple[str, Any, Any]]:
    """Return (key, baseline's value, this one's value) of every setting in which two experiments differ."""
    if not runs or not baseline:
        return []
    ours, reference = (r[0].manifest.get("identity") or {} for r in (runs, baseline))
    keys = sorted((ours.keys() | reference.keys()) - RUN_COORDINATES)
    return [(k, reference.get(k), ours.get(k)) for k in keys if ours.get(k) != reference.get(k)]
