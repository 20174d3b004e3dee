"""Shows sheets in the terminal with rich: the same cells as the files, fitted to its width."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from rich.cells import cell_len
from rich.console import Console, JustifyMethod
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from brats_ablate.tables.text_tables import Sheet

_PHRASE = 4
"""A cell of so many words is a phrase, to be wrapped, and no number, to be aligned."""
_NARROW = 16
"""Characters that a phrase is left at least."""
_WORDS = {"better": "green", "worse": "red", "missing": "yellow", "unfinished": "yellow"}


def show(sheets: Sequence[Sheet], console: Console) -> None:
    """Print the sheets of one table, the notes below each. What is too wide is printed on its side or in parts."""
    for i, sheet in enumerate(sheets):
        for part in fitted(sheet, console.width):
            console.print(_table(part, console.width, "bold" if i == 0 else ""))
        for note in sheet.notes:
            console.print(Text(note, style="dim"))
        console.print()


def fitted(sheet: Sheet, width: int) -> list[Sheet]:
    """The sheet as it is if it fits into `width` characters, else in as few parts as can be: either its columns in
    groups, each beside the first column, or the same of the sheet on its side, rows for columns.
    """
    upright, on_its_side = _parts(sheet, width), _parts(_turned(sheet), width)
    return on_its_side if len(on_its_side) < len(upright) else upright


def _parts(sheet: Sheet, width: int) -> list[Sheet]:
    widths = [_least_width(sheet, c) for c in range(len(sheet.header))]
    groups: list[list[int]] = [[]]
    for c in range(1, len(widths)):
        if groups[-1] and _total([widths[0], *(widths[k] for k in groups[-1]), widths[c]]) > width:
            groups.append([])
        groups[-1].append(c)
    return [sheet] if len(groups) == 1 else [_with_columns(sheet, [0, *group]) for group in groups]


def _with_columns(sheet: Sheet, columns: Sequence[int]) -> Sheet:
    return replace(
        sheet,
        header=tuple(sheet.header[c] for c in columns),
        rows=tuple(tuple(row[c] for c in columns) for row in sheet.rows),
        bold=frozenset((r, k) for k, c in enumerate(columns) for r in range(len(sheet.rows)) if (r, c) in sheet.bold),
    )


def _turned(sheet: Sheet) -> Sheet:
    header = (sheet.header[0], *(row[0] for row in sheet.rows))
    rows = tuple((name, *(row[c] for row in sheet.rows)) for c, name in enumerate(sheet.header) if c > 0)
    return replace(
        sheet, header=header, rows=rows, bold=frozenset((c - 1, r + 1) for r, c in sheet.bold), rules=frozenset()
    )


def _table(sheet: Sheet, width: int, title_style: str) -> Table:
    table = Table(title=escape(sheet.title), title_justify="left", title_style=title_style, header_style="bold")
    widths = [_least_width(sheet, c) for c in range(len(sheet.header))]
    for c, text in enumerate(sheet.header):
        # What is left over makes headings and phrases wrap less, from the left.
        widths[c] += max(0, min(_full_width(sheet, c) - widths[c], width - _total(widths)))
        justify: JustifyMethod = "left" if c == 0 or any(map(_is_phrase, _cells(sheet, c))) else "right"
        table.add_column(escape(text), justify=justify, overflow="fold", width=widths[c])
    for r, row in enumerate(sheet.rows):
        if r in sheet.rules:
            table.add_section()
        table.add_row(*(Text(x, style=_style(sheet, r, c, x)) for c, x in enumerate(row)))
    return table


def _total(widths: Sequence[int]) -> int:
    """Of a table with columns so wide: two blanks and a line each, and the first line."""
    return sum(widths) + 3 * len(widths) + 1


def _cells(sheet: Sheet, column: int) -> list[str]:
    return [row[column] for row in sheet.rows]


def _is_phrase(cell: str) -> bool:
    return len(cell.split()) >= _PHRASE


def _full_width(sheet: Sheet, column: int) -> int:
    return max(1, *(cell_len(text) for text in (sheet.header[column], *_cells(sheet, column))))


def _least_width(sheet: Sheet, column: int) -> int:
    """With no word broken and no number wrapped; phrases and the heading may be."""
    phrases = [cell for cell in _cells(sheet, column) if _is_phrase(cell)]
    unbroken = [word for text in (sheet.header[column], *phrases) for word in text.split()]
    unbroken += [cell for cell in _cells(sheet, column) if not _is_phrase(cell)]
    room = min(_NARROW, max(map(cell_len, phrases), default=1))
    return max(room, max(map(cell_len, unbroken), default=0))


def _style(sheet: Sheet, row: int, column: int, text: str) -> str:
    if (row, column) in sheet.bold:
        return "bold"
    return _WORDS.get(text.split(":", maxsplit=1)[0], "")
