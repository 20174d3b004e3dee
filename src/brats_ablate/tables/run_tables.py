"""Tables about the runs behind the scores: how they were trained, and what they cost."""

from __future__ import annotations

from collections.abc import Sequence

from brats_ablate.tables.build import ColumnResult, TableResult
from brats_ablate.tables.cost import cost_of, unit_of_device_hours
from brats_ablate.tables.table import Absent, Cell, Detail, Format, Number, Row, Table, Words, headers
from brats_ablate.tables.training_setup import TITLES, joined, recorded_values


def training_table(result: TableResult) -> Table:
    """Return how the runs of every column were trained; several values of a column are joined: 2 / 16."""
    rows = tuple((Words(c.column.title), *setup_cells(c)) for c in result.columns if c.scores.runs)
    notes = (
        "Global batch: patches per step, of all processes of a run. Precision: as resolved on the device. Several "
        "values: the runs of the column differ.",
    )
    return Table(f"{result.spec.name}_training", "Training", headers("", *TITLES.values()), rows, notes)


def setup_cells(column: ColumnResult) -> list[Cell]:
    """Return a cell for each field of `TrainingSetup`, in their order."""
    return [_setup_cell(recorded_values(column.scores.runs, field)) for field in TITLES]


def _setup_cell(values: Sequence[object]) -> Cell:
    match values:
        case []:
            return Absent()
        case [int(value)]:
            return Number(value, str)
    return Words(joined(values))


def cost_table(result: TableResult) -> Table:
    """Return the cost of every column; in brackets, where both are recorded, relative to its baseline."""
    unit = unit_of_device_hours([run for c in result.columns for run in c.scores.runs])
    heads = headers("", "parameters", "GFLOPs", "s per step", "h per run", "peak memory (GiB)", unit, "total h", "runs")
    rows: list[Row] = []
    for i, c in enumerate(result.columns):
        if not c.scores.runs:
            continue
        baseline = result.spec.baseline_of(i)
        cost, base = c.cost, cost_of([]) if baseline is None else result.columns[baseline].cost
        rows.append(
            (
                Words(c.column.title),
                _relative(cost.parameters, base.parameters, _millions),
                _relative(cost.gflops, base.gflops, "{:.1f}".format),
                _relative(cost.seconds_per_step, base.seconds_per_step, "{:.3f}".format),
                _relative(cost.hours_per_run, base.hours_per_run, "{:.2f}".format),
                _relative(cost.peak_memory_gib, base.peak_memory_gib, "{:.2f}".format),
                _relative(cost.device_hours, base.device_hours if base.runs == cost.runs else None, "{:.2f}".format),
                Number(cost.hours, "{:.2f}".format),
                Words(f"{cost.finished} of {cost.runs}"),
            )
        )
    notes = (
        f"In brackets: relative to the baseline (of {unit} where both have as many runs). GFLOPs: forward, one "
        f"training patch. s per step: training alone. {unit}: of all runs, times their devices. "
        "Runs: finished of started.",
    )
    return Table(f"{result.spec.name}_cost", "Cost", heads, tuple(rows), notes)


def _relative(value: float | None, reference: float | None, format: Format) -> Number:
    """Return one figure, and its ratio to the same figure of the baseline."""
    if value is None or not reference:
        return Number(value, format)
    return Number(value, format, Detail("relative", value / reference, "{:.2f}×".format))


def _millions(n: float) -> str:
    return f"{n / 1e6:.2f} M"
