"""Build one table's numbers: scores of its columns, comparisons, costs. `tabulate` and the report show them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pandas import DataFrame, Series

from brats_ablate.labels.scheme import LabelScheme
from brats_ablate.runs.identity import COORDINATES, INITIAL_WEIGHTS
from brats_ablate.tables import statistics
from brats_ablate.tables.comparison import Comparison, compare
from brats_ablate.tables.cost import Cost, cost_of
from brats_ablate.tables.difference import Settings, estimate_differences, pair_contrasts
from brats_ablate.tables.effects import Effect, effects
from brats_ablate.tables.evaluated import compare_evaluated
from brats_ablate.tables.evaluation_record import EvaluationRecord, read_record
from brats_ablate.tables.outside_folds import OutsideFolds, scores_outside_folds
from brats_ablate.tables.results import (
    NO_FOLD,
    PatientOf,
    case_rows,
    case_scores,
    evaluated_dice,
    evaluated_hd95,
    read_evaluation,
    read_rows,
)
from brats_ablate.tables.scores import ColumnScores, FoldScore, FoldScores, RunSummary, score
from brats_ablate.tables.spec import Column, TableSpec
from brats_ablate.tables.statistics import Components
from brats_ablate.tables.strata import Stratum, strata
from brats_ablate.tables.tested_scores import ColumnRuns, read_runs
from brats_ablate.tables.variance import FoldStatistics


@dataclass(frozen=True)
class ColumnResult:
    """All numbers of one column."""

    column: Column
    scores: ColumnScores
    rows: DataFrame
    """The case rows (`results.COLUMNS`) behind the scores of the folds; empty for an evaluation."""
    case_scores: DataFrame
    """As of `results.case_scores`."""
    tested: ColumnRuns
    """Scores that the comparisons use; {} for an evaluation."""
    cost: Cost
    components: Components | None
    evaluation: EvaluationRecord | None = None
    """Of the column, or of an experiment that was also evaluated under its own name."""
    hd95: DataFrame = field(default_factory=DataFrame)
    """As of `results.evaluated_hd95`, from that evaluation."""
    notes: tuple[str, ...] = ()
    """What a reader has to know about these scores, such as missing cases."""

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
    paper_p: Mapping[int, float]
    """Column → adjusted p of the paper's printed folds."""
    settings: Settings
    strata: tuple[Stratum, ...]
    test_sets: tuple[OutsideFolds, ...]
    labels: LabelScheme
    """Regions of the scores."""
    ranking: tuple[tuple[str, float], ...] = ()
    """Our methods' ranking scores, best first."""
    effects: tuple[Effect, ...] = ()
    """Of a full factorial design."""

    @property
    def has_any(self) -> bool:
        return any(column.has_any for column in self.columns) or bool(self.ranking)

    @property
    def noise_floor(self) -> float | None:
        """The largest noise floor of a comparison; None if none is known."""
        return max((c.noise_floor for c in self.comparisons if not math.isnan(c.noise_floor)), default=None)


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
    """By default every case is a patient of its own."""


def build(
    specs: Sequence[TableSpec], store: ResultsStore, *, folds: int, resamples: int, seed: int, rope: float = 0.001
) -> list[TableResult]:
    """Build tables from what exists; a column that several of them share is read once.

    `resamples` are the draws of the test; `rope` as in `difference.Settings`.
    """
    settings = Settings(folds, rope, resamples, seed)
    sources = {column.source: column for spec in specs for column in spec.columns}
    columns = {source: _column(column, store, folds) for source, column in sources.items()}
    ranking = _our_ranking(store.evaluation / "ranking.csv") if any(spec.ranking for spec in specs) else ()
    tables = [_table(spec, columns, store, settings) for spec in specs]
    return [replace(table, ranking=ranking) if table.spec.ranking else table for table in tables]


def _table(
    spec: TableSpec, of_source: Mapping[str, ColumnResult], store: ResultsStore, settings: Settings
) -> TableResult:
    columns = tuple(replace(of_source[column.source], column=column) for column in spec.columns)
    baselines = [(i, spec.baseline_of(i)) for i in range(len(columns))]
    rows = [c.case_scores for c in columns]
    labels = store.labels
    pairs = [(i, b) for i, b in baselines if b is not None]
    trained = [pair for pair in pairs if spec.is_trained(*pair)]
    evaluated = [pair for pair in pairs if not spec.is_trained(*pair)]
    alike = [(i, b if b is not None and spec.is_trained(i) == spec.is_trained(b) else None) for i, b in baselines]
    compared = compare(trained, [c.tested for c in columns], settings)
    compared += compare_evaluated(
        evaluated, spec.columns, rows, settings, regions=labels.averaged_names, patient_of=store.patient_of
    )
    return TableResult(
        spec=spec,
        folds=settings.folds,
        columns=columns,
        comparisons=tuple(sorted(compared, key=attrgetter("column"))),
        paper_p=_paper_p(spec, pairs, settings),
        settings=settings,
        strata=tuple(strata(alike, list(map(_validated, rows)), store.patient_of, labels=labels)),
        test_sets=tuple(scores_outside_folds(rows, labels, store.patient_of)),
        labels=labels,
        effects=tuple(_effects(spec, columns, settings)),
    )


def _validated(scores: DataFrame) -> DataFrame:
    """Return a column's cases of the folds, or all if it has none there: a test set has a table of its own."""
    in_folds = scores[scores["fold"] != NO_FOLD]
    return scores if in_folds.empty else in_folds


def _effects(spec: TableSpec, columns: Sequence[ColumnResult], settings: Settings) -> list[Effect]:
    """Return the effects of a design whose columns are all trained experiments."""
    if not spec.factors or not spec.is_trained(*range(len(columns))):
        return []
    on = [frozenset(column.factors or ()) for column in spec.columns]
    return effects(spec.factors, on, [c.tested for c in columns], settings)


def _column(column: Column, store: ResultsStore, folds: int) -> ColumnResult:
    result = _trained(column, store, folds) if column.evaluation is None else _evaluated(column, store, folds)
    file = store.evaluation / f"{column.evaluation or column.experiment}.csv"
    if not file.exists():
        return result
    record, hd95 = read_record(file), evaluated_hd95(file, store.labels.region_names)
    trained_on = hd95.index.intersection(list(record.trained_on(store.fold_of_case)))
    return replace(result, evaluation=record, hd95=hd95.drop(trained_on))


def _trained(column: Column, store: ResultsStore, folds: int) -> ColumnResult:
    runs = store.runs.get(column.experiment or "", ())
    scores = score(runs, folds)
    rows = case_rows(scores.per_fold_lr.runs)
    seeds = [[run.best["dice"] for run in fold.runs] for fold in scores.per_fold_lr.folds]
    components = statistics.variance_components(seeds)
    of_cases = case_scores(rows, store.labels.region_names)
    in_folds = (run for run in runs if run.coordinates.fold < folds)
    tested = read_runs(in_folds, store.labels, store.patient_of)
    return ColumnResult(column, scores, rows, of_cases, tested, cost_of(runs), components)


def _evaluated(column: Column, store: ResultsStore, folds: int) -> ColumnResult:
    """Score a column of `job=evaluate`: a fold's score is the mean over its cases."""
    file = store.evaluation / f"{column.evaluation}.csv"
    rows, regions = case_rows([]), store.labels.region_names
    if file.exists():
        rows = evaluated_dice(file, store.fold_of_case, regions, store.labels.sized_region)
    scores = case_scores(rows, regions)
    record, notes = read_record(file), list[str]()
    if trained_on := sorted(record.trained_on(store.fold_of_case) & set(scores.index)):
        scores = scores.drop(trained_on)
        notes.append(f"{len(trained_on)} cases ({trained_on[0]} …) were training data of its networks and are left out")
    if beyond := scores.index[scores["fold"] >= folds].tolist():
        scores = scores.drop(beyond)
        notes.append(f"{len(beyond)} cases ({beyond[0]} …) are left out: their folds are beyond data.n_folds={folds}")
    if record.is_out_of_fold and (moved := _moved(file, store.fold_of_case)):
        notes.append(
            f"{len(moved)} cases ({moved[0]} …) were in other folds when they were predicted; predict them again"
        )
    if store.fold_of_case and not record.folds:
        notes += _incomplete_folds(scores, Series(store.fold_of_case), folds)
    elif (scores["fold"] != NO_FOLD).any() and not store.fold_of_case:
        notes.append("folds as recorded by job=evaluate, because the data are not prepared here")
    mean_dice = scores[list(store.labels.averaged_names)].mean(axis=1)
    by_fold = [mean_dice[scores["fold"] == fold] for fold in range(folds)]
    missing = FoldScore("missing", note="no evaluated case")
    of_folds = FoldScores(tuple(FoldScore("finished", float(d.mean())) if len(d) else missing for d in by_fold))
    of_column = ColumnScores(of_folds, None, (), ())
    return ColumnResult(column, of_column, case_rows([]), scores, {}, cost_of([]), None, notes=tuple(notes))


def _moved(file: Path, fold_of_case: Mapping[str, int]) -> list[str]:
    """Return the cases of an evaluation whose fold was another one then."""
    rows = read_evaluation(file)
    if "fold" not in rows:  # as in files of other programs
        return []
    folds = pd.to_numeric(rows["fold"], errors="coerce")
    recorded = dict(zip(rows["case"][folds.notna()], folds.dropna().astype(int), strict=True))
    return sorted(case for case, fold in recorded.items() if fold_of_case.get(case, fold) != fold)


def _incomplete_folds(scores: DataFrame, fold_of_case: Series, folds: int) -> Iterator[str]:
    """Say of which folds cases are not evaluated."""
    for fold in range(folds):
        cases, evaluated = (fold_of_case == fold).sum(), (scores["fold"] == fold).sum()
        if 0 < evaluated < cases:
            yield f"only {evaluated} of the {cases} cases of fold {fold} are evaluated"


def _our_ranking(file: Path) -> tuple[tuple[str, float], ...]:
    """Read the scores that `job=rank` wrote, best first."""
    if not file.exists():
        return ()
    rows = read_rows(file, ["method"], "score", "job=rank").sort_values("score", kind="stable")
    return tuple(zip(rows["method"], rows["score"], strict=True))


def _paper_p(spec: TableSpec, pairs: Sequence[tuple[int, int]], settings: Settings) -> dict[int, float]:
    """Test the printed folds: column → adjusted p. Their variance over folds includes that over patients."""
    printed = {i: c.paper.folds for i, c in enumerate(spec.columns) if c.paper and len(c.paper.folds) == settings.folds}
    tested = [pair for pair in pairs if printed.keys() >= set(pair)]
    if not tested or settings.folds < 2:
        return {}
    members = sorted({i for pair in tested for i in pair})
    statistics_of_folds = FoldStatistics.of_folds(np.array([printed[i] for i in members]))
    indices = np.array([[members.index(column), members.index(baseline)] for column, baseline in tested])
    differences = estimate_differences(statistics_of_folds, pair_contrasts(indices, len(members)), settings)
    return {column: d.p_adjusted for (column, _), d in zip(tested, differences, strict=True)}


def mixed_settings(runs: Sequence[RunSummary]) -> list[str]:
    """Return the settings in which the runs of one experiment differ, each as "key (a, b)"; there should be none.

    Initial weights may differ, as each fold has its own.
    """
    values: dict[str, list[Any]] = {}
    for run in runs:
        for key, value in (run.manifest.get("identity") or {}).items():
            if key not in COORDINATES | {INITIAL_WEIGHTS} and value not in values.setdefault(key, []):
                values[key].append(value)
    return [f"{key} ({', '.join(map(str, several))})" for key, several in sorted(values.items()) if len(several) > 1]


def differing_settings(runs: Sequence[RunSummary], baseline: Sequence[RunSummary]) -> list[tuple[str, Any, Any]]:
    """Return (key, baseline's value, this one's value) of every setting in which two experiments differ."""
    if not runs or not baseline:
        return []
    ours, reference = (r[0].manifest.get("identity") or {} for r in (runs, baseline))
    keys = sorted((ours.keys() | reference.keys()) - COORDINATES)
    return [(k, reference.get(k), ours.get(k)) for k in keys if ours.get(k) != reference.get(k)]
