r"""The table for a paper: variants as rows; Dice and HD95 of every region and their mean as mean ± SD and median [IQR].

`<name>_paper.md`, `.csv` and `.tex` of `job=tables`. In LaTeX, Dice and HD95 are two panels, one above the other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from pandas import DataFrame

from brats_ablate.runtime.files import write_text
from brats_ablate.tables.build import ColumnResult, TableResult
from brats_ablate.tables.comparison import BETTER, WORSE, is_negligible
from brats_ablate.tables.evaluated_tables import is_trained
from brats_ablate.tables.results import NO_FOLD
from brats_ablate.tables.table import Absent, Cell, Distribution, Format, Header, Mark, Row, Table, Words, dice
from brats_ablate.tables.tabulate import metric_policy
from brats_ablate.tables.writers import escape_latex, latex_float, markdown, write_csv

_SYMBOLS: Mapping[str, str] = {BETTER: "†", WORSE: "‡"}
_MOST_VARIANTS = 10
"""Of which Dice and HD95 fit on one page."""
_MEAN = "mean"
"""Head of the mean over regions."""


class _Metric(NamedTuple):
    """One panel of the table."""

    name: str
    unit: str
    mean_format: Format
    """Differences between variants are of the order of 0.001: Dice has four decimals, its quartiles three."""
    median_format: Format
    best: Callable[[Sequence[float]], float]
    scores: Callable[[ColumnResult], DataFrame]
    """(case, region)."""


_METRICS = (
    _Metric("Dice", "", dice, "{:.3f}".format, max, lambda c: c.case_scores),
    _Metric("HD95", " (mm)", "{:.2f}".format, "{:.2f}".format, min, lambda c: c.hd95),
)


def paper_table(result: TableResult) -> Table:
    """Return a row for each variant that has scores, over the cases that all of these have."""
    shown_columns = [i for i, c in enumerate(result.columns) if not c.case_scores.empty]
    columns = [result.columns[i] for i in shown_columns]
    verdicts = {c.column: _SYMBOLS.get(c.verdict, "") for c in result.comparisons}
    symbols = [verdicts.get(i, "") for i in shown_columns]
    in_folds = {case for c in columns for case in c.case_scores.index[c.case_scores["fold"] != NO_FOLD]}
    cells: list[list[Cell]] = [[Words(c.column.title)] for c in columns]
    heads, over = [Header("", "")], dict[str, list[str]]()
    for metric in _METRICS:
        frames = [_in_folds(_with_mean(metric.scores(c), result), in_folds) for c in columns]
        shown, note = _over_common_cases(frames, columns)
        over.setdefault(note, []).append(metric.name)
        for name in (*result.labels.regions, _MEAN):
            heads.append(Header(f"{metric.name} {name}", f"{metric.name} {name}"))
            marks = _best(metric, name, shown)
            for i, (row, frame) in enumerate(zip(cells, shown, strict=True)):
                is_tested = metric is _METRICS[0] and name == _MEAN
                row.append(_cell(metric, frame, name, marks[i], symbols[i] if is_tested else ""))
    notes = [_what_is_shown(result)]
    notes += [f"{' and '.join(metrics)}: {note}." for note, metrics in over.items() if note]
    notes += [*_marks_note(result), *_hd95_notes(columns)]
    if trained := [c.column.title for c in columns if c.column.evaluation is None]:
        of = "" if len(trained) == len(columns) else f" of {', '.join(trained)}"
        notes.append(f"Dice{of}: {metric_policy(result.labels)}")
    rows: list[Row] = [tuple(row) for row in cells]
    return Table(f"{result.spec.name}_paper", result.spec.title, tuple(heads), tuple(rows), tuple(notes))


def write_paper_table(result: TableResult, folder: Path) -> None:
    """Write the table as Markdown, CSV and LaTeX; if no variant has case scores, remove what was written earlier."""
    if all(c.case_scores.empty for c in result.columns):
        for ending in ("md", "tex", "csv"):
            (folder / f"{result.spec.name}_paper.{ending}").unlink(missing_ok=True)
        return
    table = paper_table(result)
    write_text(folder / f"{table.name}.md", markdown([table]))
    write_text(folder / f"{table.name}.tex", paper_latex(table))
    write_csv(table.frame(), folder / f"{table.name}.csv")


def paper_latex(table: Table) -> str:
    """Return a `paper_table` as two panels, of many variants as two tables.

    Decimal points are aligned by invisible digits.
    """
    width = (len(table.headers) - 1) // len(_METRICS)
    regions = [header.name.partition(" ")[2] for header in table.headers[1 : width + 1]]
    head = f"& {' & '.join(map(escape_latex, regions))} \\\\"
    panels = [[r"\midrule", *_panel(table, k, width)] for k in range(len(_METRICS))]
    columns = "l" + "c" * width
    if len(table.rows) <= _MOST_VARIANTS:
        return latex_float(table, [(columns, [head, *chain(*panels)])], size=r"\footnotesize")
    parts = [replace(table, name=f"{table.name}_{metric.name.lower()}") for metric in _METRICS]
    parts[:-1] = [replace(part, notes=()) for part in parts[:-1]]
    floats = [
        latex_float(part, [(columns, [head, *panel])], size=r"\footnotesize")
        for part, panel in zip(parts, panels, strict=True)
    ]
    return "\n".join(floats)


def _panel(table: Table, metric: int, width: int) -> Iterator[str]:
    """Yield the lines of one metric: two for each variant."""
    first = 1 + metric * width
    name = f"{_METRICS[metric].name}{_METRICS[metric].unit}"
    yield rf"\multicolumn{{{width + 1}}}{{l}}{{\emph{{{name}}}}} \\"
    aligned = [_aligned([row[first + r] for row in table.rows]) for r in range(width)]
    for r, (row, texts) in enumerate(zip(table.rows, zip(*aligned, strict=True), strict=True)):
        upper, lower = zip(*texts, strict=True)
        if r:
            yield r"\addlinespace"
        yield rf"{escape_latex(row[0].text)} & {' & '.join(upper)} \\"
        if any(lower):
            yield rf" & {' & '.join(lower)} \\"


def _aligned(column: Sequence[Cell]) -> list[tuple[str, str]]:
    """Return the two lines of each cell of a column, with numbers of one width."""
    found = [cell for cell in column if isinstance(cell, Distribution)]
    widths = [max(map(len, texts)) for texts in zip(*(cell.mean_and_sd for cell in found), strict=True)]
    medians = [cell.median_and_quartiles for cell in found]
    median_width = max((len(median) for median, _, _ in medians), default=0)
    quartiles_width = max((len(q1) + len(q3) for _, q1, q3 in medians), default=0)
    lines = []
    for cell in column:
        if not isinstance(cell, Distribution):
            lines.append((escape_latex(cell.text), ""))
            continue
        mean, sd = cell.mean_and_sd
        median, q1, q3 = cell.median_and_quartiles
        # Bold digits are wider: they may extend to the left of the space that plain ones take.
        plain = escape_latex(mean)
        shown = rf"\phantom{{{plain}}}\llap{{\textbf{{{plain}}}}}" if cell.mark == "best" else plain
        symbol = rf"\rlap{{{escape_latex(cell.symbol)}}}" if cell.symbol else ""
        left = _invisible(widths[0] - len(mean)) + shown
        spread = rf"{left} $\pm$ {_invisible(widths[1] - len(sd))}{escape_latex(sd)}{symbol}"
        quartiles = f"{escape_latex(f'[{q1}, {q3}]')}{_invisible(quartiles_width - len(q1) - len(q3))}"
        lines.append((spread, f"{_invisible(median_width - len(median))}{escape_latex(median)} {quartiles}"))
    return lines


def _invisible(digits: int) -> str:
    return rf"\phantom{{{'0' * digits}}}" if digits else ""


def _with_mean(scores: DataFrame, result: TableResult) -> DataFrame:
    """Return (case, region and mean); empty where there are no scores."""
    if scores.empty:
        return DataFrame()
    regions = scores[list(result.labels.regions)].dropna()
    return regions.assign(**{_MEAN: regions[list(result.labels.averaged_names)].mean(axis=1)})


def _in_folds(scores: DataFrame, in_folds: set[str]) -> DataFrame:
    """Return the cases of the folds, or all if none is: a test set has a table of its own."""
    chosen = scores[scores.index.isin(in_folds)]
    return scores if chosen.empty else chosen


def _over_common_cases(frames: Sequence[DataFrame], columns: Sequence[ColumnResult]) -> tuple[list[DataFrame], str]:
    """Return the frames on the cases that all have which have any, else as they are, and a note that says so."""
    found = [frame for frame in frames if not frame.empty]
    if not found:
        return list(frames), ""
    common = sorted(set.intersection(*(set(frame.index) for frame in found)))
    numbers = [f"{c.column.title} {len(f)}" for c, f in zip(columns, frames, strict=True) if not f.empty]
    if not common:
        return list(frames), f"no case is in all variants; each over its own cases ({', '.join(numbers)})"
    shown = [frame if frame.empty else frame.loc[common] for frame in frames]
    if all(len(frame) == len(common) for frame in found):
        return shown, f"over {len(common)} cases"
    return shown, f"over the {len(common)} cases that all variants have ({', '.join(numbers)})"


def _best(metric: _Metric, name: str, frames: Sequence[DataFrame]) -> list[Mark]:
    """Mark the best mean, as printed; none if there is only one, or cases differ."""
    found = [frame for frame in frames if not frame.empty]
    if len(found) < 2 or not all(frame.index.equals(found[0].index) for frame in found):
        return [""] * len(frames)
    printed = [None if frame.empty else float(metric.mean_format(frame[name].mean())) for frame in frames]
    best = metric.best([value for value in printed if value is not None])
    return ["best" if value == best else "" for value in printed]


def _cell(metric: _Metric, frame: DataFrame, name: str, mark: Mark, symbol: str) -> Cell:
    if frame.empty:
        return Absent()
    return Distribution(frame[name].to_numpy(float), metric.mean_format, metric.median_format, mark, symbol)


def _what_is_shown(result: TableResult) -> str:
    averaged = ", ".join(result.labels.averaged_names)
    return f"Mean ± SD and median [quartiles] over cases; {_MEAN}: of {averaged}. Bold: the best mean."


def _marks_note(result: TableResult) -> Iterator[str]:
    if not result.comparisons:
        return
    titles = dict.fromkeys(result.columns[c.baseline].column.title for c in result.comparisons)
    baseline = next(iter(titles)) if len(titles) == 1 else "its baseline"
    is_trained_any = any(is_trained(c, result) for c in result.comparisons)
    tested = " of the last epochs, not the best ones shown" if is_trained_any else ""
    yield (
        f"† better, ‡ worse than {baseline} in mean Dice{tested}; corrected p at most 0.05 (see "
        f"{result.spec.name}.md). HD95 is not tested."
    )
    for c in result.comparisons:
        if c.verdict in _SYMBOLS and c.reason and (is_trained(c, result) or is_negligible(c, result.settings)):
            yield f"{result.columns[c.column].column.title}: {c.verdict} ({c.reason})."


def _hd95_notes(columns: Sequence[ColumnResult]) -> Iterator[str]:
    """Say where the HD95 of trained variants is from, of which it is missing, and how it is defined."""
    missing = [c.column.title for c in columns if c.hd95.empty]
    if missing:
        commands = "+experiment=<name> job=predict, then +experiment=<name> job=evaluate"
        yield f"No HD95 of {', '.join(missing)}: run {commands}."
    policies: dict[str, list[str]] = {}
    for c in columns:
        if c.hd95.empty or c.evaluation is None:
            continue
        policies.setdefault(c.evaluation.policy, []).append(c.column.title)
        if c.column.evaluation is None:
            by = f"networks: {c.evaluation.networks}; test-time augmentation: {c.evaluation.tta}"
            yield f"HD95 of {c.column.title}: of the evaluated predictions ({by}), not of validation."
    for policy, titles in policies.items():
        of = f" of {', '.join(titles)}" if len(policies) > 1 else ""
        yield f"Metrics{of}: {policy or 'definitions not recorded; run job=evaluate again'}."
