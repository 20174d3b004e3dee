"""A comparison in words: one sentence with the verdict, and the numbers behind it."""

from __future__ import annotations

import math

from brats_ablate.runtime.text import counted
from brats_ablate.tables.build import TableResult
from brats_ablate.tables.comparison import BETTER, EQUIVALENT, FEW_PATIENTS, SMALL_SAMPLE, UNDECIDED, WORSE, Comparison
from brats_ablate.tables.table import Bounds, Number, dice, p_value, signed

_SENTENCES = {
    BETTER: "{column} is better than {baseline}.",
    WORSE: "{column} is worse than {baseline}.",
    EQUIVALENT: "{column} is equivalent to {baseline} (within ±{rope:g}).",
    UNDECIDED: "{column} vs {baseline} is undecided.",
}


def verdict_sentence(result: TableResult, c: Comparison) -> str:
    """Return the verdict of a comparison of `result` as a sentence."""
    names = {"column": result.columns[c.column].column.title, "baseline": result.columns[c.baseline].column.title}
    template = _SENTENCES.get(c.verdict, "{column} vs {baseline} is not tested: {reason}.")
    return template.format(**names, rope=result.settings.rope, reason=c.reason)


def verdict_numbers(c: Comparison) -> str:
    """Return difference, interval, p and patients of a comparison; "" if it has no difference."""
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
    if c.is_small:
        parts.append(f"{SMALL_SAMPLE} (fewer than {FEW_PATIENTS})")
    return ", ".join(parts)
