"""Writes sheets as Markdown, CSV and LaTeX (booktabs). Text in, text out."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence

from brats_ablate.tables.text_tables import Sheet

_LATEX = {
    "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}", "\\": r"\textbackslash{}", "Δ": r"$\Delta$", "−": "--", "–": "--", "×": r"$\times$",
    "<": "$<$", ">": "$>$", "³": "$^3$", "…": r"\dots{}", "±": r"$\pm$",
}  # fmt: skip
_WITH_RATE = re.compile(r"([\d.]+) \(([\d.]+e[-\d]+)\)")
_WITH_RATIO = re.compile(r"([\d.]+(?: M)?) \(([\d.]+)×\)")


def markdown(sheets: Sequence[Sheet]) -> str:
    """One document: the first sheet's title as heading, the others below it; best values in bold."""
    parts = []
    for level, sheet in enumerate(sheets):
        rows = [
            [_bold(sheet, r, c, _pipe(text), "**") for c, text in enumerate(row)] for r, row in enumerate(sheet.rows)
        ]
        header = [_pipe(text) for text in sheet.header]
        widths = [max(len(row[c]) for row in [header, *rows]) for c in range(len(header))]
        lines = [f"{'#' if level == 0 else '##'} {sheet.title}", "", _line(header, widths)]
        lines.append("|" + "|".join("-" * (w + 1) + (":" if c else "-") for c, w in enumerate(widths)) + "|")
        lines += [_line(row, widths) for row in rows]
        parts.append("\n".join([*lines, "", *(f"- {note}" for note in sheet.notes)]).rstrip())
    return "\n\n".join(parts) + "\n"


def csv_text(sheet: Sheet) -> str:
    """The sheet's cells as CSV, without notes; cells that hold a number and its rate or ratio are two columns."""
    named = [
        f"{before} paper" if text == "paper" else text
        for before, text in zip(["", *sheet.header], sheet.header, strict=False)
    ]
    columns = [_split(title, [row[c] for row in sheet.rows]) for c, title in enumerate(named)]
    header, *rows = zip(*(part for column in columns for part in column), strict=True)
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerows([header, *rows])
    return stream.getvalue()


def latex(sheet: Sheet, extra_rows: Sequence[tuple[str, ...]] = ()) -> str:
    """A `table` with booktabs rules, the best of each row in bold, the notes below it.

    Args:
        extra_rows: rows set below another rule, e.g. the intervals.
    """
    lines = [
        r"% needs \usepackage{booktabs}",
        r"\begin{table}",
        r"  \centering",
        rf"  \caption{{{_escape(sheet.title)}}}",
        rf"  \label{{tab:{sheet.name}}}",
        rf"  \begin{{tabular}}{{l{'r' * (len(sheet.header) - 1)}}}",
        r"    \toprule",
        _latex_row([_escape(text) for text in sheet.header]),
        r"    \midrule",
    ]
    for r, row in enumerate(sheet.rows):
        if r in sheet.rules:
            lines.append(r"    \midrule")
        cells = [_escape(text) for text in row]
        lines.append(_latex_row([rf"\textbf{{{x}}}" if (r, c) in sheet.bold else x for c, x in enumerate(cells)]))
    if extra_rows:
        lines.append(r"    \midrule")
        lines += [_latex_row([_escape(text) for text in row]) for row in extra_rows]
    lines += [r"    \bottomrule", r"  \end{tabular}"]
    lines += [rf"  \par\smallskip\footnotesize {_escape(note)}" for note in sheet.notes]
    return "\n".join([*lines, r"\end{table}"]) + "\n"


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    return (
        "| "
        + " | ".join(x.rjust(w) if c else x.ljust(w) for c, (x, w) in enumerate(zip(cells, widths, strict=True)))
        + " |"
    )


def _bold(sheet: Sheet, row: int, column: int, text: str, mark: str) -> str:
    return f"{mark}{text}{mark}" if (row, column) in sheet.bold else text


def _pipe(text: str) -> str:
    return text.replace("|", r"\|")


def _split(title: str, cells: Sequence[str]) -> list[list[str]]:
    """The column with its title; two columns where its cells hold a number and what belongs to it in brackets."""
    for pattern, second in ((_WITH_RATE, "lr"), (_WITH_RATIO, "relative")):
        found = [pattern.fullmatch(text) for text in cells]
        if any(found):
            first = [match[1] if match else text for match, text in zip(found, cells, strict=True)]
            return [[title, *first], [f"{title} {second}", *(match[2] if match else "" for match in found)]]
    return [[title, *cells]]


def _escape(text: str) -> str:
    return "".join(_LATEX.get(character, character) for character in text)


def _latex_row(cells: Sequence[str]) -> str:
    return "    " + " & ".join(cells) + r" \\"
