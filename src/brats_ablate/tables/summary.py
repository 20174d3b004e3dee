"""A table in short, for the end of a sweep: a row per column with its mean, its difference and the verdict."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from brats_ablate.tables.build import ColumnResult, TableResult
from brats_ablate.tables.differences import verdict_cell
from brats_ablate.tables.effects_table import effects_table
from brats_ablate.tables.statistics import UNKNOWN
from brats_ablate.tables.table import (
    Absent,
    Bounds,
    Cell,
    Number,
    Row,
    Table,
    Words,
    dice,
    headers,
    p_value,
    signed,
)
from brats_ablate.tables.tabulate import best_marks


def summary_tables(result: TableResult) -> list[Table]:
    """Return the summary of a table, and the effects of a design."""
    compared = {c.column: c for c in result.comparisons}
    folds = _shared_folds(result)
    means = [_mean(c, folds) for c in result.columns]
    marks = best_marks(means)
    rows: list[Row] = []
    for i, (column, mark) in enumerate(zip(result.columns, marks, strict=True)):
        mean: Cell = Absent("no finished run" if not column.scores.per_fold_lr.finished else "no common fold")
        if means[i] is not None:
            mean = Number(means[i], dice, mark=mark)
        c = compared.get(i)
        verdict: Cell = Absent("baseline") if c is None else verdict_cell(c)
        rows.append(
            (
                Words(column.column.title), mean, Number(c.difference if c else None, signed),
                Bounds(c.interval if c else UNKNOWN, signed), Number(c.p_adjusted if c else None, p_value), verdict,
            )
        )  # fmt: skip
    over = "" if len(folds) in (0, result.folds) else f" over fold{'s' * (len(folds) > 1)} {', '.join(map(str, folds))}"
    notes = (f"Mean Dice{over}: best epochs. Δ, interval and verdict: last epochs, to the baseline of the column.",)
    heads = headers("", "mean Dice", "Δ", "95 % CI", "p", "verdict")
    if not compared:
        notes, heads, rows = (f"Mean Dice{over}: best epochs.",), heads[:2], [row[:2] for row in rows]
    summary = Table(result.spec.name, result.spec.title, heads, tuple(rows), notes)
    return [summary, *([table] if (table := effects_table(result)).rows else [])]


def _shared_folds(result: TableResult) -> list[int]:
    """Return the folds that every column has which has any, so that the means are of the same cases."""
    values = [c.scores.per_fold_lr.values for c in result.columns]
    finished = [{fold for fold, value in enumerate(of_column) if value is not None} for of_column in values]
    return sorted(set.intersection(*filter(None, finished))) if any(finished) else []


def _mean(column: ColumnResult, folds: Sequence[int]) -> float | None:
    values = [column.scores.per_fold_lr.values[fold] for fold in folds]
    known = [value for value in values if value is not None]
    return fmean(known) if known else None
