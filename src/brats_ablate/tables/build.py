"""Builds one table: the scores of its columns, how they compare, what they cost. What `sheets` and the report show."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from brats_ablate.errors import DataError
from brats_ablate.tables import case_scores, statistics
from brats_ablate.tables.case_scores import CaseScores
from brats_ablate.tables.comparison import Comparison, Stratum, compare, strata
from brats_ablate.tables.cost import Cost, cost_of
from brats_ablate.tables.run_summary import RunSummary
from brats_ablate.tables.scores import FINISHED, MISSING, Cell, ColumnScores, Scores, score
from brats_ablate.tables.spec import Column, TableSpec
from brats_ablate.tables.statistics import Components

RUN_COORDINATES = frozenset({"fold", "lr", "seed", "name"})
"""Keys of a run's identity in which the runs of one table always differ."""


@dataclass(frozen=True)
class ColumnResult:
    """Everything known of one column."""

    column: Column
    scores: ColumnScores
    rows: CaseScores | None
    cost: Cost
    components: Components | None

    @property
    def has_any(self) -> bool:
        return bool(self.scores.runs) or self.rows is not None


@dataclass(frozen=True)
class TableResult:
    """One table with all that is shown of it."""

    study: TableSpec
    folds: int
    columns: tuple[ColumnResult, ...]
    comparisons: tuple[Comparison, ...]
    paper_p_folds: tuple[float, ...]
    """Per column, the corrected t-test on the paper's printed folds, NaN where there are none."""
    strata: tuple[Stratum, ...]
    noise_floor: float | None
    ranking: tuple[tuple[str, float], ...] = ()
    """Our methods' ranking scores, best first."""

    @property
    def has_any(self) -> bool:
        return any(column.has_any for column in self.columns) or bool(self.ranking)

    def comparison(self, column: int) -> Comparison | None:
        return next((c for c in self.comparisons if c.column == column), None)


@dataclass(frozen=True)
class ResultsStore:
    """Where a table's numbers come from."""

    runs: Mapping[str, Sequence[RunSummary]]
    """Experiment -> its runs."""
    evaluation: Path
    """Folder of the files that `job=evaluate` and `job=rank` write."""
    fold_of_case: Mapping[str, int]
    """From the prepared cohort; {} where it is not known."""


def build(
    studies: Sequence[TableSpec], sources: ResultsStore, *, folds: int, resamples: int, seed: int
) -> list[TableResult]:
    """Build the tables `studies` from what exists; a column that several of them share is read once.

    Args:
        folds: of the cross-validation.
        resamples: bootstrap samples and permutations.
        seed: of the resampling.
    """
    wanted = {column.source: column for study in studies for column in study.columns}
    known = {key: _column(column, sources, folds) for key, column in wanted.items()}
    ranking = _our_ranking(sources.evaluation / "ranking.csv") if any(study.ranking for study in studies) else ()
    results = [_table(study, known, folds, resamples, seed) for study in studies]
    return [replace(r, ranking=ranking) if r.study.ranking else r for r in results]


def _table(study: TableSpec, known: Mapping[str, ColumnResult], folds: int, resamples: int, seed: int) -> TableResult:
    columns = tuple(replace(known[column.source], column=column) for column in study.columns)
    pairs = [(i, study.against(i)) for i in range(len(columns))]
    scores, rows = [c.scores.best_lr for c in columns], [c.rows for c in columns]
    components = [c.components for c in columns if c.components is not None]
    return TableResult(
        study=study,
        folds=folds,
        columns=columns,
        comparisons=tuple(compare(pairs, scores, rows, folds=folds, resamples=resamples, seed=seed)),
        paper_p_folds=tuple(_paper_p(study, i, against) for i, against in pairs),
        strata=tuple(strata(pairs, rows, resamples=resamples, seed=seed)),
        noise_floor=statistics.noise_floor(components, folds),
    )


def _column(column: Column, sources: ResultsStore, folds: int) -> ColumnResult:
    if column.evaluation is not None:
        return _evaluated(column, sources, folds)
    runs = sources.runs.get(column.experiment or "", ())
    scored = score(runs, folds)
    seeds: dict[int, list[float]] = {}
    for cell in scored.best_lr.cells:
        if cell.runs:
            seeds[cell.runs[0].coordinates.fold] = [run.best["dice"] for run in cell.runs]
    return ColumnResult(
        column,
        scored,
        case_scores.of_column(scored.best_lr),
        cost_of(runs),
        statistics.variance_components(list(seeds.values())),
    )


def _evaluated(column: Column, sources: ResultsStore, folds: int) -> ColumnResult:
    """A column of `job=evaluate`: a fold's score is the mean over its cases."""
    file = sources.evaluation / f"{column.evaluation}.csv"
    rows = case_scores.read_evaluation(file, sources.fold_of_case) if file.exists() else None
    cells = []
    for fold in range(folds):
        mine = rows.mean_dice[rows.folds == fold] if rows is not None else np.empty(0)
        cells.append(Cell(FINISHED, float(mine.mean())) if len(mine) else Cell(MISSING, note="no evaluated case"))
    scored = ColumnScores(Scores(tuple(cells)), None, (), ())
    return ColumnResult(column, scored, rows, cost_of([]), None)


def _our_ranking(file: Path) -> tuple[tuple[str, float], ...]:
    """The scores that `job=rank` wrote, best first."""
    if not file.exists():
        return ()
    with file.open(newline="", encoding="utf-8") as stream:
        reader = csv.DictReader(stream)
        for column in ("method", "score"):
            if column not in (reader.fieldnames or ()):
                raise DataError(f"{file} has no column {column}; make it again with job=rank")
        return tuple(sorted(((row["method"], float(row["score"])) for row in reader), key=lambda r: r[1]))


def _paper_p(study: TableSpec, column: int, against: int | None) -> float:
    mine = study.columns[column].paper
    theirs = study.columns[against].paper if against is not None else None
    if mine is None or theirs is None:
        return float("nan")
    return statistics.corrected_t_p_value(np.subtract(mine.folds, theirs.folds), len(mine.folds))


def mixed_settings(runs: Sequence[RunSummary]) -> list[str]:
    """Settings in which the runs of one experiment differ although they should not, each as "key (a, b)"."""
    identities = [run.manifest.get("identity") for run in runs]
    values: dict[str, list[Any]] = {}
    for identity in identities:
        for key, value in (identity or {}).items():
            if key not in RUN_COORDINATES and value not in values.setdefault(key, []):
                values[key].append(value)
    return [f"{key} ({', '.join(map(str, found))})" for key, found in sorted(values.items()) if len(found) > 1]


def differing_settings(runs: Sequence[RunSummary], baseline: Sequence[RunSummary]) -> list[tuple[str, Any, Any]]:
    """(key, baseline's value, this one's value) of every setting in which two experiments differ; None: not there."""
    if not runs or not baseline:
        return []
    mine, theirs = (r[0].manifest.get("identity") or {} for r in (runs, baseline))
    keys = sorted((mine.keys() | theirs.keys()) - RUN_COORDINATES)
    return [(k, theirs.get(k), mine.get(k)) for k in keys if mine.get(k) != theirs.get(k)]


def gap_to_paper(result: ColumnResult) -> float | None:
    """Our mean minus the mean of the paper's printed folds."""
    ours = result.scores.best_lr.mean
    return None if ours is None or result.column.paper is None else ours - fmean(result.column.paper.folds)
