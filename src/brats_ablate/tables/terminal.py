"""Show tables in the terminal with rich, fitted to its width."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from operator import itemgetter

import rich.table
from rich.cells import cell_len
from rich.console import Console, JustifyMethod
from rich.markup import escape
from rich.text import Text

from brats_ablate.tables.table import Cell, Table, Words, headers

_PHRASE = 4
"""A text cell of this many words may be wrapped."""
_MIN_WIDTH = 14
"""Characters that such a cell keeps at least."""
_STYLES = {"best": "bold", "better": "green", "worse": "red", "missing": "yellow", "unfinished": "yellow"}


def show(tables: Sequence[Table], console: Console) -> None:
    """Print tables, each with its notes below. A table that is too wide is transposed or printed in parts."""
    for i, table in enumerate(tables):
        for part in fitted(table, console.width):
            console.print(_rich_table(part, console.width, "bold" if i == 0 else ""))
        for note in table.notes:
            console.print(Text(note, style="dim"))
        console.print()


def fitted(table: Table, width: int) -> list[Table]:
    """Split a table into as few parts as possible that fit into `width` characters.

    A part has the columns of names, the first and those without a head, and some of the others, of the table or of the
    transposed table.
    """
    upright, transposed = _parts(table, width), _parts(_transposed(table), width)
    return transposed if len(transposed) < len(upright) else upright


def _parts(table: Table, width: int) -> list[Table]:
    widths = [_min_width(table, c) for c in range(len(table.headers))]
    names = [c for c, header in enumerate(table.headers) if c == 0 or not header.text]
    groups: list[list[int]] = [[]]
    for c in (c for c in range(len(widths)) if c not in names):
        if groups[-1] and _total([widths[k] for k in (*names, *groups[-1], c)]) > width:
            groups.append([])
        groups[-1].append(c)
    if len(groups) == 1:
        return [table]
    pick = [itemgetter(*names, *group) for group in groups]
    return [replace(table, headers=of(table.headers), rows=tuple(map(of, table.rows))) for of in pick]


def _transposed(table: Table) -> Table:
    rows = tuple((Words(header.text), *_cells(table, c)) for c, header in enumerate(table.headers) if c > 0)
    heads = (table.headers[0], *headers(*(row[0].text for row in table.rows)))
    return replace(table, headers=heads, rows=rows, rules=frozenset())


def _rich_table(table: Table, width: int, title_style: str) -> rich.table.Table:
    shown = rich.table.Table(
        title=escape(table.title), title_justify="left", title_style=title_style, header_style="bold"
    )
    widths = [_min_width(table, c) for c in range(len(table.headers))]
    for c, header in enumerate(table.headers):
        # Spare width goes to headers and phrases, from the left, so that they wrap less.
        unwrapped = max(1, cell_len(header.text), *(cell_len(cell.text) for cell in _cells(table, c)))
        widths[c] += max(0, min(unwrapped - widths[c], width - _total(widths)))
        justify: JustifyMethod = "left" if c == 0 or any(map(_is_phrase, _cells(table, c))) else "right"
        shown.add_column(escape(header.text), justify=justify, overflow="fold", width=widths[c])
    for r, row in enumerate(table.rows):
        if r in table.rules:
            shown.add_section()
        shown.add_row(*(Text(cell.text, style=_STYLES.get(cell.mark, "")) for cell in row))
    return shown


def _total(widths: Sequence[int]) -> int:
    """Return the width of a table: two blanks and a line for each column, and the first line."""
    return sum(widths) + 3 * len(widths) + 1


def _cells(table: Table, column: int) -> list[Cell]:
    return [row[column] for row in table.rows]


def _is_phrase(cell: Cell) -> bool:
    return isinstance(cell, Words) and len(cell.text.split()) >= _PHRASE


def _min_width(table: Table, column: int) -> int:
    """Return the width at which no word is broken and no number wrapped; phrases, names and the header may wrap."""
    cells = _cells(table, column)
    phrases = [cell.text for cell in cells if column == 0 or _is_phrase(cell)]
    unbroken = [word for text in (table.headers[column].text, *phrases) for word in text.split()]
    unbroken += [cell.text for cell in cells if column > 0 and not _is_phrase(cell)]
    room = min(_MIN_WIDTH, max(map(cell_len, phrases), default=1))
    return max(room, *map(cell_len, unbroken), 0)
