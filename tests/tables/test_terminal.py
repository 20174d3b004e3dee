"""Tables in a terminal: nothing cut off, no number broken, whatever the width."""

from __future__ import annotations

import io
import re
from dataclasses import replace

import pytest
from rich.console import Console

from brats_ablate.tables.statistics import Interval
from brats_ablate.tables.table import Bounds, Cell, Table, Words, headers
from brats_ablate.tables.terminal import fitted, show

FIGURES = ("p", "noise floor", "95 % CI", "min. detectable Δ", "parameters", "GPU-hours")
VARIANTS = ("U-Net", "DS", "D+O", "D+C", "D+C+O", "Attention", "Residual", "SegResNetVAE")
VERDICT = "better: 4 of 5 folds; small sample"


def interval(r: int, c: int) -> Cell:
    start = r / 10 + c / 100
    return Bounds(Interval(start, start + 0.0099), "{:+.4f}".format, mark="" if (r, c) != (0, 0) else "best")


def table(variants: int, figures: int) -> Table:
    """Make one row per variant: a verdict and figures, each cell different from all others."""
    rows = tuple(
        (Words(name), Words(VERDICT), *(interval(r, c) for c in range(figures)))
        for r, name in enumerate(VARIANTS[:variants])
    )
    return Table("s", "Differences", headers("", "verdict", *FIGURES[:figures]), rows, ("A note.",))


def best(part: Table) -> set[tuple[int, int]]:
    return {(r, c) for r, row in enumerate(part.rows) for c, cell in enumerate(row) if cell.mark == "best"}


def printed(shown: Table, width: int) -> str:
    file = io.StringIO()
    show([shown], Console(file=file, width=width))
    return file.getvalue()


def numbers(text: str) -> list[str]:
    return sorted(re.findall(r"\[[^\]]*\]", text))


def test_a_table_that_fits_is_printed_unchanged() -> None:
    whole = table(3, 6)
    assert fitted(whole, 250) == [whole]
    assert VERDICT in printed(whole, 250)


def test_one_row_too_wide_is_printed_transposed() -> None:
    (part,) = fitted(table(1, 6), 80)
    assert part.header_texts == ("", "U-Net")
    assert [row[0] for row in part.texts] == ["verdict", *FIGURES]
    assert part.texts[1] == ("p", "[+0.0000, +0.0099]")
    assert best(part) == {(1, 1)}


def test_a_table_too_wide_both_ways_is_printed_in_parts_that_repeat_the_first_column() -> None:
    whole = table(8, 6)
    parts = fitted(whole, 80)
    assert len(parts) == 3
    assert [part.header_texts[0] for part in parts] == ["", "", ""]
    assert [name for part in parts for name in part.header_texts[1:]] == list(whole.header_texts[1:])
    assert all([row[0] for row in part.texts] == list(VARIANTS) for part in parts)
    assert [best(part) for part in parts] == [{(0, 2)}, set(), set()]


def test_parts_repeat_every_column_of_names() -> None:
    whole = table(8, 6)
    named = tuple((Words("no ET"), *row) for row in whole.rows)
    parts = fitted(replace(whole, headers=(*headers("subgroup"), *whole.headers), rows=named), 80)
    assert len(parts) > 1
    assert all([row[:2] for row in part.texts] == [("no ET", name) for name in VARIANTS] for part in parts)


@pytest.mark.parametrize("width", [40, 60, 80, 100, 120, 200])
@pytest.mark.parametrize("variants", [1, 2, 5, 8])
@pytest.mark.parametrize("figures", [1, 3, 6])
def test_nothing_is_cut_off_and_no_number_is_broken(width: int, variants: int, figures: int) -> None:
    text = printed(table(variants, figures), width)
    assert max(map(len, text.splitlines())) <= width
    assert numbers(text) == numbers(str(tuple(table(variants, figures).texts)))
    assert text.count("A note.") == 1


def test_a_table_without_rows_has_its_headers() -> None:
    assert "verdict" in printed(Table("s", "t", headers("", "verdict"), ()), 80)
