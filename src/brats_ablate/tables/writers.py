"""Write tables as Markdown, CSV and LaTeX (booktabs)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from brats_ablate.runtime.files import atomic_write, write_text
from brats_ablate.tables.table import Row, Table

if TYPE_CHECKING:
    from pandas import DataFrame

_LATEX = str.maketrans({
    "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}", "\\": r"\textbackslash{}", "Δ": r"$\Delta$", "−": "--", "–": "--", "×": r"$\times$",
    "<": "$<$", ">": "$>$", "≥": r"$\geq$", "∞": r"$\infty$", "³": "$^3$", "…": r"\dots{}", "±": r"$\pm$",
    "|": r"\textbar{}", "†": r"$^{\dagger}$", "‡": r"$^{\ddagger}$", "≤": r"$\leq$", "→": r"$\to$",
    "α": r"$\alpha$", "β": r"$\beta$", "γ": r"$\gamma$", "ε": r"$\varepsilon$", "λ": r"$\lambda$", "μ": r"$\mu$",
    "σ": r"$\sigma$", "τ": r"$\tau$",
})  # fmt: skip
_LINE = 90
"""Characters of a row that LaTeX prints in readable size."""
_PAGE = 40
"""Lines of panels on one page."""


def write_tables(tables: Sequence[Table], folder: Path, extra_rows: Sequence[Row] = ()) -> None:
    """Write everything as one Markdown file, each table as CSV, the first one as LaTeX with `extra_rows`.

    A further table without rows has no file; one that was written earlier is removed.
    """
    first, *further = tables
    filled = [first, *(table for table in further if table.rows)]
    write_text(folder / f"{first.name}.md", markdown(filled))
    write_text(folder / f"{first.name}.tex", latex(first, extra_rows))
    for table in filled:
        write_csv(table.frame(), folder / f"{table.name}.csv")
    for table in further:
        if not table.rows:
            (folder / f"{table.name}.csv").unlink(missing_ok=True)


def write_csv(frame: DataFrame, file: Path) -> None:
    """Write rows as CSV, whole or not at all."""
    with atomic_write(file) as temporary:
        frame.to_csv(temporary, index=False)


def markdown(tables: Sequence[Table]) -> str:
    """Return one document: the first table's title as heading, the others below it; best values in bold."""
    parts = []
    for level, table in enumerate(tables):
        rows = _texts(table, table.rows, lambda text: text.replace("|", r"\|"), "**{}**")
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = [
            " | ".join(x.rjust(w) if c else x.ljust(w) for c, (x, w) in enumerate(zip(row, widths, strict=True)))
            for row in rows
        ]
        rule = "|".join("-" * (w + 1) + (":" if c else "-") for c, w in enumerate(widths))
        head = [f"{'#' if level == 0 else '##'} {table.title}", "", f"| {lines[0]} |", f"|{rule}|"]
        notes = ["", *(f"- {note}" for note in table.notes)]
        parts.append("\n".join([*head, *(f"| {line} |" for line in lines[1:]), *notes]).rstrip())
    return "\n\n".join(parts) + "\n"


def latex(table: Table, extra_rows: Sequence[Row] = ()) -> str:
    r"""Return a `table` with booktabs rules, the best of each row in bold, `extra_rows` at its end.

    Columns that are too many for one line continue in further panels below, as long as these fit on a page.
    """
    texts = _texts(table, [*table.rows, *extra_rows], escape_latex, r"\textbf{{{}}}")
    panels = []
    for columns in _panels(table, [max(map(len, column)) for column in zip(*texts, strict=True)], len(texts)):
        head, *body = (rf"{' & '.join(row[c] for c in columns)} \\" for row in texts)
        lines = [head, r"\midrule"]
        for r, row in enumerate(body):
            lines += [r"\midrule"] * (r in table.rules or r == len(table.rows)) + [row]
        panels.append((f"l{'r' * (len(columns) - 1)}", lines))
    return latex_float(table, panels)


def _panels(table: Table, widths: Sequence[int], height: int) -> list[list[int]]:
    """Return the columns of each panel: the first one, and a share of the others; the paper's follow ours."""
    units: list[list[int]] = []
    for c, header in enumerate(table.headers[1:], start=1):
        if header.is_paper and units:
            units[-1].append(c)
        else:
            units.append([c])
    count = min(math.ceil(sum(width + 2 for width in widths) / _LINE), max(1, _PAGE // height), len(units)) or 1
    size = math.ceil(len(units) / count)
    return [[0, *chain(*units[at : at + size])] for at in range(0, len(units), size)] or [[0]]


def latex_float(table: Table, panels: Sequence[tuple[str, Sequence[str]]], size: str = "") -> str:
    r"""Return a `table` environment with caption, label, panels one below the other, and the notes.

    What is wider than the line is scaled down to it.

    Args:
        table: for caption, label and notes.
        panels: each the argument of `tabular` and the lines between the outer rules.
        size: a font command.
    """
    parts = [
        r"% needs \usepackage{booktabs,graphicx}",
        r"\begin{table}",
        r"  \centering",
        rf"  \caption{{{escape_latex(table.title)}}}",
        rf"  \label{{tab:{table.name}}}",
        *([f"  {size}"] if size else []),
    ]
    for k, (columns, lines) in enumerate(panels):
        parts += [r"  \par\medskip"] * (k > 0)
        parts += [
            r"  \resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
            rf"  \begin{{tabular}}{{{columns}}}",
            r"    \toprule",
            *(f"    {line}" for line in lines),
            r"    \bottomrule",
            r"  \end{tabular}}",
        ]
    if table.notes:  # one paragraph: many notes of a few words would take a page
        parts += [r"  \par\smallskip\raggedright\footnotesize", *(f"  {escape_latex(note)}" for note in table.notes)]
    return "\n".join([*parts, r"\end{table}"]) + "\n"


def escape_latex(text: str) -> str:
    r"""Return text with the special characters of LaTeX as commands."""
    return text.translate(_LATEX)


def _texts(table: Table, rows: Sequence[Row], escape: Callable[[str], str], best: str) -> list[list[str]]:
    """Return the header and `rows` as escaped text, the best cells in the template `best`."""
    body = ([best.format(escape(c.text)) if c.mark == "best" else escape(c.text) for c in row] for row in rows)
    return [[escape(text) for text in table.header_texts], *body]
