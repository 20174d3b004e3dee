"""Tables in a terminal: nothing cut off, no number broken, whatever the width."""

from __future__ import annotations

import io
import re

import pytest
from rich.console import Console

from brats_ablate.tables.terminal import fitted, show
from brats_ablate.tables.text_tables import Sheet

FIGURES = ("p cases", "Holm, cases", "95 % interval", "seen from", "parameters", "device-hours")
VARIANTS = ("U-Net", "DS", "D+O", "D+C", "D+C+O", "Attention", "Residual", "SegResNetVAE")
VERDICT = "better: over cases and over folds"


def sheet(variants: int, figures: int) -> Sheet:
    """One row a variant: a verdict and figures, each cell different from all others."""
    rows = tuple(
        (name, VERDICT, *(f"[+0.{r}{c}00, +0.{r}{c}99]" for c in range(figures)))
        for r, name in enumerate(VARIANTS[:variants])
    )
    return Sheet("s", "Differences", ("", "verdict", *FIGURES[:figures]), rows, ("A note.",), frozenset({(0, 2)}))


def printed(shown: Sheet, width: int) -> str:
    file = io.StringIO()
    show([shown], Console(file=file, width=width))
    return file.getvalue()


def numbers(text: str) -> list[str]:
    return sorted(re.findall(r"\[[^\]]*\]", text))


def test_a_sheet_with_room_is_printed_as_it_is() -> None:
    whole = sheet(3, 6)
    assert fitted(whole, 250) == [whole]
    assert VERDICT in printed(whole, 250)


def test_one_row_too_wide_is_printed_on_its_side() -> None:
    (part,) = fitted(sheet(1, 6), 80)
    assert part.header == ("", "U-Net")
    assert [row[0] for row in part.rows] == ["verdict", *FIGURES]
    assert part.rows[1] == ("p cases", "[+0.0000, +0.0099]")
    assert part.bold == {(1, 1)}


def test_what_is_too_wide_either_way_is_printed_in_parts_that_repeat_the_first_column() -> None:
    whole = sheet(8, 6)
    parts = fitted(whole, 80)
    assert len(parts) == 3
    assert [part.header[0] for part in parts] == ["", "", ""]
    assert [name for part in parts for name in part.header[1:]] == list(whole.header[1:])
    assert all([row[0] for row in part.rows] == list(VARIANTS) for part in parts)
    assert [part.bold for part in parts] == [{(0, 2)}, frozenset(), frozenset()]


@pytest.mark.parametrize("width", [40, 60, 80, 100, 120, 200])
@pytest.mark.parametrize("variants", [1, 2, 5, 8])
@pytest.mark.parametrize("figures", [1, 3, 6])
def test_nothing_is_cut_off_and_no_number_is_broken(width: int, variants: int, figures: int) -> None:
    text = printed(sheet(variants, figures), width)
    assert max(map(len, text.splitlines())) <= width
    assert numbers(text) == numbers(str(sheet(variants, figures).rows))
    assert text.count("A note.") == 1


def test_a_sheet_without_rows_has_its_heading() -> None:
    assert "verdict" in printed(Sheet("s", "t", ("", "verdict"), ()), 80)
