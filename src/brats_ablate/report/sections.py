"""The report's static sections as HTML, readable without a script, on paper and by a screen reader."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from html import escape

from brats_ablate.report.selection import has_result
from brats_ablate.report.summary import missing_folds
from brats_ablate.tables.build import TableResult, differing_settings
from brats_ablate.tables.comparison import SMALL_SAMPLE
from brats_ablate.tables.scores import RunSummary
from brats_ablate.tables.table import DASH, Cell, Number, Table, words_table
from brats_ablate.tables.tabulate import metric_policy, tabulate
from brats_ablate.tables.training_size import size_curves

_FIGURE = (
    '<figure><figcaption>{caption}</figcaption><div class="plot" id="{kind}-{name}" role="group" aria-label="{label}">'
    "</div></figure>"
)


def table_section(result: TableResult) -> str:
    """Return one table: the scores, its figures, and the further tables collapsed; columns without a score left out."""
    shown = [c for c in result.comparisons if has_result(result.columns[c.column])]
    result = replace(result, comparisons=tuple(c for c in shown if has_result(result.columns[c.baseline])))
    first, *further = tabulate(result)
    name = escape(result.spec.name)
    return (
        f'<section id="table-{name}"><h2>{escape(result.spec.title)}</h2>'
        + (f'<p class="where">{escape(result.spec.paper)}</p>' if result.spec.paper else "")
        + table_html(first if result.spec.ranking else _without_empty_columns(first), caption=False)
        + ("" if result.spec.ranking else f'<div class="figures">{"".join(_figures(result, name))}</div>')
        + "".join(
            f"<details><summary>{escape(t.title)}</summary>{table_html(t, caption=False)}</details>" for t in further
        )
        + "</section>"
    )


def _figures(result: TableResult, name: str) -> Iterator[str]:
    """Yield the places of the figures that the page's script draws."""
    small = f"; {SMALL_SAMPLE}" if any(c.is_small for c in result.comparisons) else ""
    if any(not math.isnan(c.difference) for c in result.comparisons):
        noise = "; shaded: the largest noise floor, what training alone reaches" if result.noise_floor else ""
        caption = f"Δ mean Dice to the baseline with its 95 % CI; filled: better or worse{noise}{small}"
        yield _FIGURE.format(caption=caption, kind="forest", name=name, label="Numbers are under Differences")
    has_paper = any(c.column.paper for c in result.columns)
    if has_paper or any(map(has_result, result.columns)):
        paper = "; dashes: the paper" if has_paper else ""
        caption = f"Mean Dice of every fold, fold 0 at the top; a line joins each fold{paper}"
        label = "Scores per fold; they are in the table above"
        yield _FIGURE.format(caption=caption, kind="dots", name=name, label=label)
    if any(not math.isnan(e.difference) for e in result.effects):
        caption = f"Effects of the factors on mean Dice with their 95 % CI; filled: significant{small}"
        yield _FIGURE.format(caption=caption, kind="effects", name=name, label="Numbers are under Effects")
    if size_curves(result.columns):
        caption = "Mean Dice by number of training cases, with its 95 % CI over folds"
        yield _FIGURE.format(
            caption=caption, kind="sizes", name=name, label="Its numbers are in the table of this name"
        )


def _without_empty_columns(table: Table) -> Table:
    """Leave out the columns without any number, if another one has some; none where the paper's are shown as well."""
    if any(header.is_paper for header in table.headers):
        return table
    filled = [i for i in range(1, len(table.headers)) if any(_has_number(row[i]) for row in table.rows)]
    kept = [0, *(filled or range(1, len(table.headers)))]
    rows = tuple(tuple(row[i] for i in kept) for row in table.rows)
    return replace(table, headers=tuple(table.headers[i] for i in kept), rows=rows)


def _has_number(cell: Cell) -> bool:
    return isinstance(cell, Number) and cell.text != DASH


def config_section(results: Sequence[TableResult]) -> str:
    """Return the settings of every column that differ from its baseline's; "" where none do."""
    rows: dict[tuple[str, str, str], tuple[str, ...]] = {}
    for result in results:
        for i, column in enumerate(result.columns):
            if (index := result.spec.baseline_of(i)) is None:
                continue
            baseline = result.columns[index]
            title = f"{column.column.title} vs {baseline.column.title}"
            for name, reference, ours in differing_settings(column.scores.runs, baseline.scores.runs):
                key = (baseline.column.key, column.column.key, name)
                rows.setdefault(key, (title, name, _value(reference), _value(ours)))
    table = words_table("Config diff", ("comparison", "setting", "baseline", "variant"), list(rows.values()))
    content = table_html(table, caption=False, numbers=False)
    return f'<section id="settings"><h2>Config diff</h2>{content}</section>' if rows else ""


def environment_section(results: Sequence[TableResult], runs: Sequence[RunSummary]) -> str:
    """Return versions, data and hardware of the runs, each value with the number of runs that have it."""
    rows = [
        (key.replace("_", " "), value, f"{count}")
        for key in ("code_version", "data_fingerprint", "packages", "hardware")
        for value, count in Counter(_value(run.manifest.get(key)) for run in runs).most_common()
    ]
    policy = f"<p>{escape(metric_policy(results[0].labels))}</p>"
    return policy + table_html(words_table("Environment", ("", "value", "runs"), rows), numbers=False)


def missing_section(shown: Sequence[TableResult], runs: Sequence[RunSummary], commands: Mapping[str, str]) -> str:
    """Return the folds of the tables without a finished run, with the command that trains them; "" if there are none.

    `commands` are those of the experiments, without folds.
    """
    rows = []
    for key, folds in missing_folds(shown).items():
        listed = ",".join(map(str, folds))
        of_folds = {run.progress_text for run in runs if run.coordinates.name == key and run.coordinates.fold in folds}
        rows.append((key, listed, "; ".join(sorted(of_folds)) or "no run", f"{commands[key]} fold={listed} -m"))
    unfinished = [
        (str(run.coordinates), run.progress_text, run.status.reason or "") for run in runs if not run.is_finished
    ]
    older = any(run.is_finished and "options" not in run.manifest for run in runs)
    note = "Runs of earlier versions did not record their options: add the trainer and overrides to their commands."
    folds_table = words_table("Folds without a finished run", ("experiment", "folds", "state", "command"), rows)
    runs_table = words_table("Unfinished runs", ("run", "state", "reason"), unfinished)
    tables = (replace(folds_table, notes=(note,) if older else ()), runs_table)
    content = "".join(table_html(table, numbers=False) for table in tables if table.rows)
    return content and f'<section id="missing"><h2>Missing runs</h2>{content}</section>'


def table_html(table: Table, *, caption: bool = True, numbers: bool = True) -> str:
    """Return a table in a box that scrolls sideways, its notes below."""
    head = "".join(
        f'<th scope="col"{" class=paper" if header.is_paper else ""}>{escape(header.text)}</th>'
        if header.text
        else "<td></td>"
        for header in table.headers
    )
    body = []
    for r, row in enumerate(table.rows):
        cells = [f'<th scope="row">{escape(row[0].text)}</th>']
        cells += [
            f"<td{_class(cell, header.is_paper)}>{escape(cell.text)}</td>"
            for cell, header in zip(row[1:], table.headers[1:], strict=True)
        ]
        body.append(f"<tr{' class=rule' if r in table.rules else ''}>{''.join(cells)}</tr>")
    title = f"<caption>{escape(table.title)}</caption>" if caption else ""
    notes = "".join(f"<li>{escape(note)}</li>" for note in table.notes)
    kind = "" if numbers else ' class="words"'
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(table.title)}"><table{kind}>{title}'
        f"<thead><tr>{head}</tr></thead><tbody>{''.join(body)}</tbody></table></div>"
        + (f'<ul class="notes">{notes}</ul>' if notes else "")
    )


def _class(cell: Cell, is_paper: bool) -> str:
    flags = {cell.mark: bool(cell.mark), "paper": is_paper, "sentence": len(cell.text) > 24}
    names = [name for name, is_set in flags.items() if is_set]
    return f' class="{" ".join(names)}"' if names else ""


def _value(value: object) -> str:
    if value is None:
        return "–"
    if isinstance(value, dict):
        return ", ".join(f"{k} {_value(v)}" for k, v in value.items())
    return str(value)
