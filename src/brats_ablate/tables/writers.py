"""Write tables as Markdown, CSV and LaTeX (booktabs)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from brats_ablate.runtime.files import atomic_write
from brats_ablate.tables.table import Row, Table

if TYPE_CHECKING:
    from pandas import DataFrame

_LATEX = {
    "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}", "\\": r"\textbackslash{}", "Δ": r"$\Delta$", "−": "--", "–": "--", "×": r"$\times$",
    "<": "$<$", ">": "$>$", "≥": r"$\geq$", "∞": r"$\infty$", "³": "$^3$", "…": r"\dots{}", "±": r"$\pm$",
}  # fmt: skip


def write_tables(tables: Sequence[Table], folder: Path, extra_rows: Sequence[Row] = ()) -> None:
    """Write everything as one Markdown file, each table as CSV, the first one as LaTeX with `extra_rows`."""
    name = tables[0].name
    write_text(folder / f"{name}.md", markdown(tables))
    write_text(folder / f"{name}.tex", latex(tables[0], extra_rows))
    for table in tables:
        write_csv(table.frame(), folder / f"{table.name}.csv")


def write_text(file: Path, text: str) -> None:
    """Write a text file, whole or not at all."""
    with atomic_write(file) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_csv(frame: DataFrame, file: Path) -> None:
    """Write rows as CSV, whole or not at all."""
    with atomic_write(file) as temporary:
        frame.to_csv(temporary, index=False)


def markdown(tables: Sequence[Table]) -> str:
    """Return one document: the first table's title as heading, the others below it; best values in bold."""
    parts = []
    for level, table in enumerate(tables):
        rows = [[f"**{_pipe(c.text)}**" if c.mark == "best" else _pipe(c.text) for c in row] for row in table.rows]
        header = [_pipe(text) for text in table.header_texts]
        widths = [max(len(row[c]) for row in [header, *rows]) for c in range(len(header))]
        lines = [f"{'#' if level == 0 else '##'} {table.title}", "", _line(header, widths)]
        lines.append("|" + "|".join("-" * (w + 1) + (":" if c else "-") for c, w in enumerate(widths)) + "|")
        lines += [_line(row, widths) for row in rows]
        parts.append("\n".join([*lines, "", *(f"- {note}" for note in table.notes)]).rstrip())
    return "\n\n".join(parts) + "\n"


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    padded = (x.rjust(w) if c else x.ljust(w) for c, (x, w) in enumerate(zip(cells, widths, strict=True)))
    return f"| {' | '.join(padded)} |"


def _pipe(text: str) -> str:
    return text.replace("|", r"\|")


def latex(table: Table, extra_rows: Sequence[Row] = ()) -> str:
    r"""Return a `table` with booktabs rules, the best of each row in bold, the notes below it.

    Args:
        table: the table.
        extra_rows: rows set below another rule, e.g. the intervals.
    """
    lines = [
        r"% needs \usepackage{booktabs}",
        r"\begin{table}",
        r"  \centering",
        rf"  \caption{{{_escape(table.title)}}}",
        rf"  \label{{tab:{table.name}}}",
        rf"  \begin{{tabular}}{{l{'r' * (len(table.headers) - 1)}}}",
        r"    \toprule",
        _latex_row([_escape(text) for text in table.header_texts]),
        r"    \midrule",
    ]
    for r, row in enumerate([*table.rows, *extra_rows]):
        if r in table.rules or (extra_rows and r == len(table.rows)):
            lines.append(r"    \midrule")
        cells = [rf"\textbf{{{_escape(c.text)}}}" if c.mark == "best" else _escape(c.text) for c in row]
        lines.append(_latex_row(cells))
    lines += [r"    \bottomrule", r"  \end{tabular}"]
    lines += [rf"  \par\smallskip\footnotesize {_escape(note)}" for note in table.notes]
    return "\n".join([*lines, r"\end{table}"]) + "\n"


def _escape(text: str) -> str:
    return "".join(_LATEX.get(character, character) for character in text)


def _latex_row(cells: Sequence[str]) -> str:
    return "    " + " & ".join(cells) + r" \\"
