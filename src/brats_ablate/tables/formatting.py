"""Numbers as text, the same in every format of a table."""

from __future__ import annotations

import math

from brats_ablate.tables.statistics import Interval

DASH = "–"


def dice(value: float | None) -> str:
    """Four decimals, as the paper."""
    return DASH if value is None or math.isnan(value) else f"{value:.4f}"


def signed(value: float | None) -> str:
    if value is None or math.isnan(value):
        return DASH
    text = f"{value:+.4f}"
    return text.lstrip("+-") if float(text) == 0 else text


def number(value: float | None, decimals: int) -> str:
    return DASH if value is None else f"{value:.{decimals}f}"


def interval(found: Interval) -> str:
    return DASH if math.isnan(found.low) else f"[{signed(found.low)}, {signed(found.high)}]"


def p_value(p: float) -> str:
    if math.isnan(p):
        return DASH
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def learning_rate(lr: float) -> str:
    """As in the paper: 7e-4."""
    mantissa, exponent = f"{lr:e}".split("e")
    return f"{float(mantissa):g}e{int(exponent)}"
