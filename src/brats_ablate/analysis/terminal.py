"""Shows sheets in the terminal with rich: the same cells as the files."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from brats_ablate.analysis.sheets import Sheet

_SENTENCE = 28
"""Cells longer than this are words to wrap, not numbers to align."""
_WORDS = {"better": "green", "worse": "red", "missing": "yellow", "unfinished": "yellow"}


def show(sheets: Sequence[Sheet], console: Console) -> None:
    """Print the sheets of one table, the notes below each."""
    for i, sheet in enumerate(sheets):
        table = Table(
            title=escape(sheet.title),
            title_justify="left",
            title_style="bold" if i == 0 else "",
            header_style="bold",
        )
        for c, text in enumerate(sheet.header):
            cells = [row[c] for row in sheet.rows]
            wordy = any(len(cell) > _SENTENCE for cell in cells)
            table.add_column(
                escape(text),
                justify="left" if wordy or c == 0 else "right",
                overflow="fold",
                min_width=max((len(word) for cell in cells for word in cell.split()), default=1) if wordy else None,
            )
        for r, row in enumerate(sheet.rows):
            if r in sheet.rules:
                table.add_section()
            table.add_row(*(Text(x, style=_style(sheet, r, c, x)) for c, x in enumerate(row)))
        console.print(table)
        for note in sheet.notes:
            console.print(Text(note, style="dim"))
        console.print()


def _style(sheet: Sheet, row: int, column: int, text: str) -> str:
    if (row, column) in sheet.bold:
        return "bold"
    return _WORDS.get(text.split(":", maxsplit=1)[0], "")
