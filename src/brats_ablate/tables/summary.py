"""A table in short, for the end of a sweep: a row per column with its mean, its difference and the verdict."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from brats_ablate.tables.build import ColumnResult, TableResult
from brats_ablate.tables.differences import effects_table, tested_cells
from brats_ablate.tables.table import Absent, Cell, Number, Row, Table, Words, dice, fold_list, headers
from brats_ablate.tables.tabulate import best_marks, have_same_cases, unreadable_runs


def summary_tables(result: TableResult) -> list[Table]:
    """Return the summary of a table, and the effects of a design."""
    compared = {c.column: c for c in result.comparisons}
    folds = _shared_folds(result)
    means = [_mean(c, folds) for c in result.columns]
    marks = best_marks(means, is_fair=all(have_same_cases(result.columns, fold) for fold in folds))
    rows: list[Row] = []
    for i, (column, mark) in enumerate(zip(result.columns, marks, strict=True)):
        mean: Cell = Absent("no finished run" if not column.scores.per_fold_lr.finished else "no common fold")
        if means[i] is not None:
            mean = Number(means[i], dice, mark=mark)
        of_baseline = (*(Absent(),) * 3, Absent("baseline"))
        tested = tested_cells(compared[i]) if i in compared else of_baseline
        rows.append((Words(column.column.title), mean, *tested))
    over = "" if len(folds) in (0, result.folds) else f" over {fold_list(folds)}"
    notes = (f"Mean Dice{over}: best epochs. Δ, interval and verdict: last epochs, to the baseline of the column.",)
    heads = headers("", "mean Dice", "Δ", "95 % CI", "p", "verdict")
    if not compared:
        notes, heads, rows = (f"Mean Dice{over}: best epochs.",), heads[:2], [row[:2] for row in rows]
    summary = Table(result.spec.name, result.spec.title, heads, tuple(rows), (*notes, *unreadable_runs(result)))
    return [summary, *([table] if (table := effects_table(result)).rows else [])]


def _shared_folds(result: TableResult) -> list[int]:
    """Return the folds that every column has which has any, so that the means are of the same cases."""
    finished = [c.scores.per_fold_lr.finished_folds for c in result.columns]
    return sorted(set.intersection(*filter(None, finished))) if any(finished) else []


def _mean(column: ColumnResult, folds: Sequence[int]) -> float | None:
    values = [column.scores.per_fold_lr.values[fold] for fold in folds]
    known = [value for value in values if value is not None]
    return fmean(known) if known else None
