"""A comparison in words: one sentence with the verdict, and the numbers behind it."""

from __future__ import annotations

import math

from brats_ablate.runtime.text import counted
from brats_ablate.tables.build import TableResult
from brats_ablate.tables.comparison import (
    BETTER,
    EQUIVALENT,
    FEW_PATIENTS,
    NEGLIGIBLE,
    SMALL_SAMPLE,
    UNDECIDED,
    WORSE,
    Comparison,
    is_negligible,
)
from brats_ablate.tables.table import Bounds, Number, dice, p_value, signed

_SENTENCES = {
    BETTER: "{column} is better than {baseline}{negligible}.",
    WORSE: "{column} is worse than {baseline}{negligible}.",
    EQUIVALENT: "{column} is equivalent to {baseline} (within ±{rope:g}).",
    UNDECIDED: "{column} vs {baseline} is undecided.",
}


def verdict_sentence(result: TableResult, c: Comparison) -> str:
    """Return the verdict of a comparison of `result` as a sentence."""
    names = {"column": result.columns[c.column].column.title, "baseline": result.columns[c.baseline].column.title}
    template = _SENTENCES.get(c.verdict, "{column} vs {baseline} is not tested: {reason}.")
    rope = result.settings.rope
    negligible = f", by a {NEGLIGIBLE} difference (within ±{rope:g})" if is_negligible(c, result.settings) else ""
    return template.format(**names, rope=rope, negligible=negligible, reason=c.reason)


def verdict_numbers(result: TableResult, c: Comparison) -> str:
    """Return difference, interval, p, patients and missing folds of a comparison; "" if it has no difference."""
    if math.isnan(c.difference):
        return ""
    parts = [f"Δ mean Dice {Number(c.difference, signed).text}"]
    if not math.isnan(c.interval.low):
        parts.append(f"95 % CI {Bounds(c.interval, signed).text}")
    if not math.isnan(c.p_adjusted):
        parts.append(f"p {p_value(c.p_adjusted)}")
    if c.verdict == UNDECIDED and math.isfinite(c.minimum_detectable_effect):
        parts.append(f"detectable from {dice(c.minimum_detectable_effect)}")
    parts.append(counted(c.cases, "patient"))
    if 0 < c.folds < result.folds:
        parts.append(f"{c.folds} of {result.folds} folds")
    if c.is_small:
        parts.append(f"{SMALL_SAMPLE} (fewer than {FEW_PATIENTS})")
    return ", ".join(parts)
