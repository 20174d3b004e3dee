"""What to train next: the runs with which the undecided columns of a table detect a given difference."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import product

from brats_ablate.tables import maxt
from brats_ablate.tables.build import ColumnResult, TableResult
from brats_ablate.tables.comparison import NOT_DECIDED, UNDECIDED, Comparison
from brats_ablate.tables.cost import cost_of, unit_of_device_hours
from brats_ablate.tables.difference import MOST_RUNS
from brats_ablate.tables.differences import run_text
from brats_ablate.tables.table import Number, Row, Table, Words, dice, headers, signed


@dataclass(frozen=True)
class NextRuns:
    """A grid of training runs for one table; finished ones among them need not be trained again."""

    table: str
    experiments: tuple[str, ...]
    """Undecided columns that more runs can decide, and their baselines."""
    folds: tuple[int, ...]
    rates: tuple[float, ...]
    seeds: tuple[int, ...]
    missing: int
    """Runs of the grid that are not finished."""
    device_hours: float | None
    """Of the missing runs, at the mean of their experiments' finished ones; None where that is not recorded."""
    unit: str
    """CPU-hours or GPU-hours."""
    summary: Table
    """Every column: what it has and what it needs."""


def next_runs(result: TableResult, difference: float) -> NextRuns:
    """Plan the runs that detect `difference` with 80 % power; a column with one run per fold needs a second one first.

    All undecided columns get the same learning rates and seeds, so that one test covers them.
    """
    planned = [c for c in result.comparisons if c.verdict == UNDECIDED and _needed(c, difference)]
    columns = [result.columns[i] for i in sorted({i for c in planned for i in (c.column, c.baseline)})]
    runs = max((_needed(c, difference) or 0 for c in planned), default=0)
    rates = tuple(sorted({lr for c in planned for lr, _ in c.runs}))
    seeds = _seeds({seed for c in planned for _, seed in c.runs}, math.ceil(runs / len(rates))) if planned else ()
    folds = tuple(range(result.folds)) if planned else ()
    absent = {c.column.key: _absent(c, folds, rates, seeds) for c in columns}
    return NextRuns(
        table=result.spec.name,
        experiments=tuple(absent),
        folds=folds,
        rates=rates,
        seeds=seeds,
        missing=sum(absent.values()),
        device_hours=_device_hours(columns, absent),
        unit=unit_of_device_hours([run for column in columns for run in column.scores.runs]),
        summary=_summary(result, difference),
    )


def _needed(c: Comparison, difference: float) -> int | None:
    """Return runs per fold; None if no number of them is enough, or predictions are compared."""
    if not c.runs:
        return None
    if c.variance_by_runs is None:
        return 2
    needed = c.runs_for(difference)
    return None if needed is None else max(needed, len(c.runs))


def _seeds(existing: set[int], count: int) -> tuple[int, ...]:
    """Return the existing seeds, then further ones from 0 on, `count` at least."""
    further = (seed for seed in range(count + len(existing)) if seed not in existing)
    return tuple(sorted([*existing, *(next(further) for _ in range(count - len(existing)))]))


def _absent(c: ColumnResult, folds: tuple[int, ...], rates: tuple[float, ...], seeds: tuple[int, ...]) -> int:
    finished = {(r.coordinates.fold, r.coordinates.lr, r.coordinates.seed) for r in c.scores.runs if r.is_finished}
    return sum(key not in finished for key in product(folds, rates, seeds))


def _device_hours(columns: list[ColumnResult], absent: dict[str, int]) -> float | None:
    hours = 0.0
    for column in columns:
        finished = [run for run in column.scores.runs if run.is_finished]
        of_runs = cost_of(finished).device_hours
        if not of_runs:
            return None
        hours += absent[column.column.key] * of_runs / len(finished)
    return hours


def _summary(result: TableResult, difference: float) -> Table:
    rows: list[Row] = []
    for c in result.comparisons:
        needed = _needed(c, difference) if c.verdict == UNDECIDED else None
        row: Row = (
            Words(result.columns[c.column].column.title), Words(c.verdict), Number(c.difference, signed),
            Number(c.minimum_detectable_effect, dice), Words(", ".join(map(run_text, c.runs))),
            Number(len(c.runs) or None, str), Number(needed, str), Words(_advice(c, needed)),
        )  # fmt: skip
        rows.append(row)
    heads = headers(
        "", "verdict", "Δ mean Dice", "min. detectable Δ", "learning rates", "runs per fold", "needed", "advice"
    )
    title = f"{result.spec.name}: runs per fold that detect a difference of {difference:g} with 80 % power"
    return Table(f"{result.spec.name}_next", title, heads, tuple(rows))


def _advice(c: Comparison, needed: int | None) -> str:
    if c.verdict == NOT_DECIDED:
        return c.reason
    if c.verdict != UNDECIDED:
        return "decided"
    if not c.runs:
        return "compares predictions, which further runs leave as they are"
    if c.variance_by_runs is None:
        return "train a second seed first, then run this job again"
    if needed is None:
        fixed, per_run = c.variance_by_runs
        least = maxt.minimum_detectable_effect(fixed + per_run / MOST_RUNS, c.degrees, c.critical)
        return f"even {MOST_RUNS:,} runs per fold detect only {least:.4f}"
    return "train more seeds" if needed > len(c.runs) else "has enough runs"
