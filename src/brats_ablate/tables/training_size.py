"""Dice against the number of training cases, of columns that differ in `data.fraction`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import numpy as np

from brats_ablate.runs.identity import COORDINATES
from brats_ablate.tables.build import ColumnResult, TableResult
from brats_ablate.tables.scores import RunSummary
from brats_ablate.tables.statistics import Interval, t_interval
from brats_ablate.tables.table import Bounds, Number, Row, Table, Words, dice, headers
from brats_ablate.tables.training_setup import setup_of

_FRACTION, _CROPS = "data.fraction", "trainer.crops_per_case"


@dataclass(frozen=True)
class SizePoint:
    """The columns of a curve with one fraction, their mean on the folds that all fractions have."""

    fraction: float
    cases: float
    """Training cases, the mean over the folds."""
    mean: float
    """Mean Dice over the folds."""
    interval: Interval
    """Student's over the folds; they share training cases, so it is approximate."""


@dataclass(frozen=True)
class SizeCurve:
    """One experiment at several numbers of training cases, in increasing order."""

    title: str
    """Of the columns with the most cases: several where one configuration has several names."""
    source: str
    """Key of the first of them, as `Column.source`."""
    folds: int
    points: tuple[SizePoint, ...]


def size_curves(columns: Sequence[ColumnResult]) -> list[SizeCurve]:
    """Return a curve for each set of columns that differ in nothing but `data.fraction`.

    Columns that differ in `trainer.crops_per_case`, too, so that their epochs are of as many samples, are a further
    curve. A curve has at least two fractions and one fold that all of them have finished.
    """
    groups: dict[tuple[Any, ...], list[tuple[float, ColumnResult]]] = defaultdict(list)
    for column in columns:
        if runs := column.scores.per_fold_lr.runs:
            identity = runs[0].manifest.get("identity") or {}
            fraction, crops = float(identity.get(_FRACTION, 1)), identity.get(_CROPS, 1)
            excluded = COORDINATES | {_FRACTION, _CROPS}
            others = repr(sorted((k, v) for k, v in identity.items() if k not in excluded))
            groups[others, "", crops].append((fraction, column))
            groups[others, ", as many samples per epoch", round(crops * fraction, 6)].append((fraction, column))
    curves = []
    for (_, kind, _), members in groups.items():
        if len({fraction for fraction, _ in members}) > 1 and (curve := _curve(kind, members)):
            curves.append(curve)
    return curves


def size_table(result: TableResult) -> Table:
    """Return a row for each point of every curve."""
    rows: list[Row] = [
        (
            *(Words(curve.title), Number(p.fraction, "{:g}".format), Number(p.cases, "{:.0f}".format)),
            *(Number(curve.folds, str), Number(p.mean, dice), Bounds(p.interval, dice)),
        )
        for curve in size_curves(result.columns)
        for p in curve.points
    ]
    heads = headers("", _FRACTION, "training cases", "folds", "mean Dice", "95 % CI")
    notes = (
        "Mean over the folds that all fractions have finished; columns that differ in nothing but their name are "
        "averaged. 95 % CI: Student's t over these folds; they share training cases, so it is approximate.",
    )
    return Table(f"{result.spec.name}_training_size", "Dice by number of training cases", heads, tuple(rows), notes)


def _curve(kind: str, members: Sequence[tuple[float, ColumnResult]]) -> SizeCurve | None:
    by_fraction: dict[float, list[ColumnResult]] = defaultdict(list)
    for fraction, column in sorted(members, key=lambda member: member[0]):
        by_fraction[fraction].append(column)
    finished = (set().union(*(c.scores.per_fold_lr.finished_folds for c in same)) for same in by_fraction.values())
    shared = sorted(set.intersection(*finished))
    if not shared:
        return None
    points = []
    for fraction, columns in by_fraction.items():
        of_folds = [[c.scores.per_fold_lr.folds[fold] for c in columns] for fold in shared]
        values = np.array([fmean(s.value for s in of_fold if s.value is not None) for of_fold in of_folds])
        cases = fmean(training_cases(run) for of_fold in of_folds for score in of_fold for run in score.runs)
        points.append(SizePoint(fraction, cases, float(values.mean()), t_interval(values)))
    largest = [column.column for column in columns]
    title = " and ".join(column.title for column in largest)
    return SizeCurve(title + kind, largest[0].source, len(shared), tuple(points))


def training_cases(run: RunSummary) -> int:
    """Return a run's number of training cases: as recorded, or by an epoch's samples where it was not yet."""
    recorded: int | None = run.manifest.get("training_cases")
    setup, crops = setup_of(run), (run.manifest.get("identity") or {}).get(_CROPS, 1)
    return recorded or round((setup.steps_per_epoch or 0) * (setup.global_batch or 1) / crops)
