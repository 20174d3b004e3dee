"""The report's static sections as HTML, readable without a script, on paper and by a screen reader."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from html import escape

from brats_ablate.tables.build import ColumnResult, TableResult, differing_settings
from brats_ablate.tables.comparison import Comparison
from brats_ablate.tables.scores import RunSummary
from brats_ablate.tables.table import Bounds, Cell, Number, Table, p_value, signed, words_table
from brats_ablate.tables.tabulate import metric_policy, tabulate
from brats_ablate.tables.training_size import size_curves

_FIGURES = (
    '<div class="figures">'
    "<figure><figcaption>Δ mean Dice to the baseline with its 95 % CI; filled: better or worse{noise}</figcaption>"
    '<div class="plot" id="forest-{name}" role="img" aria-label="Forest plot; its numbers are under Differences">'
    "</div></figure>"
    "<figure><figcaption>Mean Dice of every fold, fold 0 at the top{paper}</figcaption>"
    '<div class="plot" id="dots-{name}" role="img" aria-label="Scores per fold; they are in the table above"></div>'
    "</figure>{sizes}</div>"
)  # fmt: skip
_SIZES = (
    "<figure><figcaption>Mean Dice by number of training cases, with its 95 % CI over folds</figcaption>"
    '<div class="plot" id="sizes-{name}" role="img" aria-label="Its numbers are in the table of this name">'
    "</div></figure>"
)


def table_section(result: TableResult) -> str:
    """Return one table: verdicts in words, the scores, its two figures, and the further tables collapsed."""
    first, *further = tabulate(result)
    name = escape(result.spec.name)
    verdicts = "".join(f"<li>{_verdict(result, c)}</li>" for c in result.comparisons)
    noise = "; shaded: noise floor, what training alone reaches" if result.noise_floor else ""
    paper = "; dashes: the paper" if any(c.column.paper for c in result.columns) else ""
    sizes = _SIZES.format(name=name) if size_curves(result.columns) else ""
    figures = "" if result.spec.ranking else _FIGURES.format(name=name, noise=noise, paper=paper, sizes=sizes)
    return (
        f'<section id="{name}"><h2>{escape(result.spec.title)}</h2>'
        + (f'<p class="where">{escape(result.spec.paper)}</p>' if result.spec.paper else "")
        + (f'<ul class="verdicts">{verdicts}</ul>' if verdicts else "")
        + table_html(first, caption=False)
        + figures
        + "".join(f"<details><summary>{escape(t.title)}</summary>{table_html(t)}</details>" for t in further)
        + "</section>"
    )


def config_section(results: Sequence[TableResult]) -> str:
    """Return the settings of every column that differ from its baseline's."""
    parts: dict[tuple[str, str], str] = {}
    for result in results:
        for i, column in enumerate(result.columns):
            if (index := result.spec.baseline_of(i)) is None:
                continue
            baseline = result.columns[index]
            key = (baseline.column.key, column.column.key)
            settings = differing_settings(column.scores.runs, baseline.scores.runs)
            if settings and key not in parts:
                rows = [(name, _value(reference), _value(ours)) for name, reference, ours in settings]
                title = f"{column.column.title} vs {baseline.column.title}"
                parts[key] = table_html(words_table(title, ("setting", *key), rows), numbers=False)
    return "".join(parts.values()) or "<p>No two columns have recorded settings to compare.</p>"


def environment_section(results: Sequence[TableResult]) -> str:
    """Return versions, data and hardware of the runs, each value with the number of runs that have it."""
    runs = _runs(results)
    rows = [
        (key.replace("_", " "), value, f"{count}")
        for key in ("code_version", "data_fingerprint", "packages", "hardware")
        for value, count in Counter(_value(run.manifest.get(key)) for run in runs).most_common()
    ]
    policy = f"<p>{escape(metric_policy(results[0].labels))}</p>"
    return policy + table_html(words_table("Environment", ("", "value", "runs"), rows), numbers=False)


def missing_section(results: Sequence[TableResult]) -> str:
    """Return the folds without a finished run, and the command that trains them."""
    columns: dict[str, ColumnResult] = {c.column.key: c for r in results for c in r.columns if c.column.experiment}
    rows = []
    for key, column in columns.items():
        scores = column.scores.per_fold_lr.folds
        absent = [fold for fold, score in enumerate(scores) if score.state != "finished"]
        if absent:
            notes = "; ".join(sorted({scores[fold].note for fold in absent}))
            folds = ",".join(map(str, absent))
            rows.append((key, folds, notes, f"python -m brats_ablate +experiment={key} fold={folds} -m"))
    runs = [run for run in _runs(results) if not run.is_finished]
    unfinished = [(str(run.coordinates), run.progress_text, run.status.reason or "") for run in runs]
    tables = (
        words_table("Folds without a finished run", ("experiment", "folds", "state", "command"), rows),
        words_table("Unfinished runs", ("run", "state", "reason"), unfinished),
    )
    return (
        "".join(table_html(table, numbers=False) for table in tables if table.rows)
        or "<p>None: every fold of every column is finished.</p>"
    )


def table_html(table: Table, *, caption: bool = True, numbers: bool = True) -> str:
    """Return a table in a box that scrolls sideways, its notes below."""
    head = "".join(
        f'<th scope="col"{" class=paper" if header.is_paper else ""}>{escape(header.text)}</th>'
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


def _verdict(result: TableResult, c: Comparison) -> str:
    title, baseline = result.columns[c.column].column.title, result.columns[c.baseline].column.title
    p = "" if math.isnan(c.p_adjusted) else f", p {p_value(c.p_adjusted)}"
    numbers = f"{Number(c.difference, signed).text} {Bounds(c.interval, signed).text}{p}"
    shown = f" <span>{escape(numbers)}</span>" if c.cases else ""
    kind = c.verdict if c.verdict in ("better", "worse") else "same"
    return (
        f'<b>{escape(title)}</b> vs {escape(baseline)}: <span class="{kind}">{escape(c.verdict)}</span>'
        f"{shown} <small>{escape(c.reason)}</small>"
    )


def _runs(results: Sequence[TableResult]) -> list[RunSummary]:
    return list({run.directory.path: run for r in results for c in r.columns for run in c.scores.runs}.values())


def _value(value: object) -> str:
    if value is None:
        return "–"
    if isinstance(value, dict):
        return ", ".join(f"{k} {_value(v)}" for k, v in value.items())
    return str(value)
