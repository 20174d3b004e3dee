"""A table in short, for the end of a sweep: a row per column with its mean, its difference and the verdict."""

from __future__ import annotations

from brats_ablate.tables.build import TableResult
from brats_ablate.tables.differences import verdict_cell
from brats_ablate.tables.effects_table import effects_table
from brats_ablate.tables.statistics import UNKNOWN
from brats_ablate.tables.table import Absent, Bounds, Cell, Number, Row, Table, Words, headers, p_value, signed
from brats_ablate.tables.tabulate import best_marks, mean_cell


def summary_tables(result: TableResult) -> list[Table]:
    """Return the summary of a table, and the effects of a design."""
    compared = {c.column: c for c in result.comparisons}
    marks = best_marks([c.scores.per_fold_lr.mean for c in result.columns])
    rows: list[Row] = []
    for i, (column, mark) in enumerate(zip(result.columns, marks, strict=True)):
        c = compared.get(i)
        verdict: Cell = Absent("baseline") if c is None else verdict_cell(c)
        rows.append(
            (
                Words(column.column.title), mean_cell(column, mark), Number(c.difference if c else None, signed),
                Bounds(c.interval if c else UNKNOWN, signed), Number(c.p_adjusted if c else None, p_value), verdict,
            )
        )  # fmt: skip
    notes = ("Mean Dice: best epochs. Δ, interval and verdict: last epochs, to the baseline of the column.",)
    heads = headers("", "mean Dice", "Δ", "95 % CI", "p", "verdict")
    summary = Table(result.spec.name, result.spec.title, heads, tuple(rows), notes)
    return [summary, *([table] if (table := effects_table(result)).rows else [])]
