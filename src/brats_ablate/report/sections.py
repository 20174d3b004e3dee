"""The report's static parts as HTML: they are read without a script, printed, and by a screen reader."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from html import escape
from typing import Any

from brats_ablate.tables.build import ColumnResult, TableResult, differing_settings
from brats_ablate.tables.formatting import interval, signed
from brats_ablate.tables.run_summary import RunSummary
from brats_ablate.tables.scores import FINISHED
from brats_ablate.tables.text_tables import METRIC_POLICY, Sheet, sheets_of

_FIGURES = (
    '<div class="figures">'
    "<figure><figcaption>Δ mean Dice to the baseline with its 95 % interval; filled where called{noise}</figcaption>"
    '<div class="plot" id="forest-{name}" role="img" aria-label="Forest plot; its numbers are under Differences">'
    "</div></figure>"
    "<figure><figcaption>Mean Dice of every fold, from fold 0 down{paper}</figcaption>"
    '<div class="plot" id="dots-{name}" role="img" aria-label="Scores per fold; they are in the table above"></div>'
    "</figure></div>"
)  # fmt: skip


def table_part(result: TableResult) -> str:
    """One table: verdicts in words, the scores, its two figures, then the further sheets folded away."""
    first, *further = sheets_of(result)
    name = escape(result.study.name)
    verdicts = "".join(f"<li>{_verdict(result, i)}</li>" for i in range(len(result.comparisons)))
    noise = "; shaded: what another choice of seeds alone does" if result.noise_floor else ""
    paper = "; dashes: the paper" if any(c.column.paper for c in result.columns) else ""
    figures = "" if result.study.ranking else _FIGURES.format(name=name, noise=noise, paper=paper)
    return (
        f'<section id="{name}"><h2>{escape(result.study.title)}</h2>'
        + (f'<p class="where">{escape(result.study.paper)}</p>' if result.study.paper else "")
        + (f'<ul class="verdicts">{verdicts}</ul>' if verdicts else "")
        + sheet_html(first, caption=False)
        + figures
        + "".join(f"<details><summary>{escape(s.title)}</summary>{sheet_html(s)}</details>" for s in further)
        + "</section>"
    )


def settings_part(results: Sequence[TableResult]) -> str:
    """What every column sets differently from the one it is held against."""
    parts, seen = [], set()
    for result in results:
        for i, column in enumerate(result.columns):
            against = result.study.against(i)
            if against is None:
                continue
            base = result.columns[against]
            key = (column.column.key, base.column.key)
            found = differing_settings(column.scores.runs, base.scores.runs)
            if found and key not in seen:
                seen.add(key)
                rows = tuple((k, _value(theirs), _value(mine)) for k, theirs, mine in found)
                title = f"{column.column.title} against {base.column.title}"
                parts.append(sheet_html(Sheet("", title, ("setting", *reversed(key)), rows), numbers=False))
    return "".join(parts) or "<p>No two columns with recorded settings to hold against each other.</p>"


def provenance_part(results: Sequence[TableResult]) -> str:
    """Versions, data and hardware of the runs, each value with the number of runs that have it."""
    runs = _runs(results)
    rows: list[tuple[str, str, str]] = []
    for key in ("code_version", "data_fingerprint", "packages", "hardware"):
        for value, count in Counter(_value(run.manifest.get(key)) for run in runs).most_common():
            rows.append((key.replace("_", " "), value, f"{count}"))
    policy = f"<p>{escape(METRIC_POLICY)}</p>"
    return policy + sheet_html(Sheet("", "Recorded by the runs", ("", "value", "runs"), tuple(rows)), numbers=False)


def missing_part(results: Sequence[TableResult]) -> str:
    """Folds without a finished run, and the command that trains them."""
    columns: dict[str, ColumnResult] = {c.column.key: c for r in results for c in r.columns if c.column.experiment}
    rows = []
    for key, column in columns.items():
        cells = column.scores.best_lr.cells
        absent = [fold for fold, cell in enumerate(cells) if cell.state != FINISHED]
        if absent:
            why = "; ".join(sorted({cells[fold].note for fold in absent}))
            folds = ",".join(map(str, absent))
            rows.append((key, folds, why, f"python -m brats_ablate +experiment={key} fold={folds} -m"))
    failed = [(str(r.coordinates), r.where, r.reason or "") for r in _runs(results) if not r.is_finished]
    parts = []
    if rows:
        sheet = Sheet("", "Folds without a finished run", ("experiment", "folds", "state", "command"), tuple(rows))
        parts.append(sheet_html(sheet, numbers=False))
    if failed:
        sheet = Sheet("", "Unfinished runs", ("run", "state", "reason"), tuple(failed))
        parts.append(sheet_html(sheet, numbers=False))
    return "".join(parts) or "<p>Nothing: every fold of every column is finished.</p>"


def sheet_html(sheet: Sheet, *, caption: bool = True, numbers: bool = True) -> str:
    """A sheet as a table in a box that scrolls sideways, its notes below."""
    paper = ["paper" if text.startswith("paper") else "" for text in sheet.header]
    head = "".join(
        f'<th scope="col"{" class=paper" if p else ""}>{escape(text)}</th>'
        for p, text in zip(paper, sheet.header, strict=True)
    )
    body = []
    for r, row in enumerate(sheet.rows):
        cells = [f'<th scope="row">{escape(row[0])}</th>']
        cells += [f"<td{_class(sheet, r, c)}>{escape(text)}</td>" for c, text in enumerate(row) if c]
        body.append(f"<tr{' class=rule' if r in sheet.rules else ''}>{''.join(cells)}</tr>")
    title = f"<caption>{escape(sheet.title)}</caption>" if caption else ""
    notes = "".join(f"<li>{escape(note)}</li>" for note in sheet.notes)
    kind = "" if numbers else ' class="words"'
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(sheet.title)}"><table{kind}>{title}'
        f"<thead><tr>{head}</tr></thead><tbody>{''.join(body)}</tbody></table></div>"
        + (f'<ul class="notes">{notes}</ul>' if notes else "")
    )


def _class(sheet: Sheet, row: int, column: int) -> str:
    names = ["best"] if (row, column) in sheet.bold else []
    names += ["paper"] if sheet.header[column].startswith("paper") else []
    text = sheet.rows[row][column]
    word = text.split(":", maxsplit=1)[0]
    names += [word] if word in ("better", "worse", "missing", "unfinished") else []
    names += ["sentence"] if len(text) > 24 else []
    return f' class="{" ".join(names)}"' if names else ""


def _verdict(result: TableResult, index: int) -> str:
    c = result.comparisons[index]
    mine, theirs = result.columns[c.column].column.title, result.columns[c.against].column.title
    numbers = f"{signed(c.shown_difference)} {interval(c.interval)}"
    shown = f" <span>{escape(numbers)}</span>" if c.cases else ""
    kind = c.verdict if c.verdict in ("better", "worse") else "same"
    return (
        f'<b>{escape(mine)}</b> against {escape(theirs)}: <span class="{kind}">{escape(c.verdict)}</span>'
        f"{shown} <small>{escape(c.reason)}</small>"
    )


def _runs(results: Sequence[TableResult]) -> list[RunSummary]:
    found = {run.directory.path: run for r in results for c in r.columns for run in c.scores.runs}
    return list(found.values())


def _value(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, dict):
        return ", ".join(f"{k} {_value(v)}" for k, v in value.items())
    return str(value)
