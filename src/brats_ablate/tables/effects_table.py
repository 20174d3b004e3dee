"""The table of a design's effects."""

from __future__ import annotations

from dataclasses import replace

from brats_ablate.tables.build import TableResult
from brats_ablate.tables.comparison import BETTER, EQUIVALENT, WORSE
from brats_ablate.tables.differences import tested_cells, verdict_cell
from brats_ablate.tables.effects import Effect
from brats_ablate.tables.table import Number, Row, Table, Words, dice, headers

_TOGETHER = {BETTER: "gain more together", WORSE: "gain less together", EQUIVALENT: "add up"}
"""Verdict → what it says of an interaction."""


def effects_table(result: TableResult) -> Table:
    """Return one row per effect, with the verdict in words; no rows unless the table is that of a full factorial."""
    rows: list[Row] = [
        (
            Words(" × ".join(e.factors)), Words(e.kind), *tested_cells(e)[:-1], effect_verdict(e),
            Number(e.minimum_detectable_effect, dice),
        )
        for e in result.effects
    ]  # fmt: skip
    rules = frozenset(i for i, e in enumerate(result.effects) if i and e.kind != result.effects[i - 1].kind)
    notes = (
        "Main effect: Δ mean Dice by the factor, averaged over the combinations of the others. Interaction: by how "
        "much more a factor changes Dice with the other one than without it. Given all others: all factors minus all "
        "but this one. Scores, interval and verdict as in Differences; p: adjusted over the effects (step-down maxT).",
    )
    heads = headers("", "effect", "Δ mean Dice", "95 % CI", "p", "verdict", "min. detectable Δ")
    return Table(f"{result.spec.name}_effects", "Effects", heads, tuple(rows), notes, rules)


def effect_verdict(e: Effect) -> Words:
    """Return the verdict of an effect in words, with its reason."""
    cell = verdict_cell(e)
    return replace(cell, words=_TOGETHER.get(e.verdict, e.verdict)) if e.kind == "interaction" else cell
