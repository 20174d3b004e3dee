"""Cells: what people read and what programs read."""

from __future__ import annotations

import math

import numpy as np
import pytest

from brats_ablate.tables.statistics import UNKNOWN, Interval
from brats_ablate.tables.table import (
    Absent,
    Bounds,
    Cell,
    Detail,
    Distribution,
    Header,
    Number,
    Raw,
    Table,
    Words,
    dice,
    learning_rate,
    p_value,
    signed,
)


def test_numbers_in_text() -> None:
    assert [signed(v) for v in (0.00194, -0.0016, 0.00001)] == ["+0.0019", "-0.0016", "0.0000"]
    assert [learning_rate(v) for v in (7e-4, 1e-3, 2.5e-5)] == ["7e-4", "1e-3", "2.5e-5"]
    assert [p_value(v) for v in (0.0009, 0.05, 0.0501, 0.0506)] == ["<0.001", "0.050", "0.0501", "0.051"]


@pytest.mark.parametrize(
    ("cell", "text", "raw"),
    [
        (Words("better", "both"), "better: both", {"": "better", "reason": "both"}),
        (Number(0.91134, dice), "0.9113", {"": 0.91134}),
        (Number(0.9, dice, Detail("lr", 7e-4, learning_rate)), "0.9000 (7e-4)", {"": 0.9, "lr": 7e-4}),
        (Number(None, dice), "–", {"": None}),
        (Number(math.nan, dice), "–", {"": None}),
        (Number(math.inf, dice), "∞", {"": math.inf}),
        (Bounds(Interval(-0.1, 0.2), signed), "[-0.1000, +0.2000]", {"low": -0.1, "high": 0.2}),
        (Bounds(UNKNOWN, signed), "–", {"low": None, "high": None}),
        (Absent("missing", mark="missing"), "missing", {"": None}),
    ],
)
def test_a_cell_has_text_and_values(cell: Cell, text: str, raw: dict[str, Raw]) -> None:
    assert cell.text == text
    assert cell.raw == raw


def test_infinite_scores_leave_what_is_finite() -> None:
    cell = Distribution(np.array([1, np.inf, 3, 2, np.inf]), "{:.2f}".format, "{:.1f}".format)
    assert cell.text == "∞ ± –; 3.0 [2.0, ∞]"
    assert cell.raw == {"": math.inf, "SD": None, "median": 3, "q1": 2, "q3": math.inf}


def test_the_frame_keeps_columns_of_equal_names_apart() -> None:
    headers = (Header("", ""), Header("a", "a"), Header("a", "a"))
    frame = Table("t", "T", headers, ((Words("x"), Number(1, str), Number(2, str)),)).frame()
    assert frame.to_numpy().tolist() == [["x", 1, 2]]
    assert frame.columns.is_unique
