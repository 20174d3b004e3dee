"""The comparisons and effects of a table as further tables and as sentences; where their uncertainty comes from."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, replace
from typing import Any

from brats_ablate.runtime.files import finite_or_null
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
    Tested,
    is_negligible,
)
from brats_ablate.tables.effects import Effect
from brats_ablate.tables.evaluated_tables import evaluated_notes, is_trained
from brats_ablate.tables.table import (
    Absent,
    Bounds,
    Cell,
    Format,
    Mark,
    Number,
    Row,
    Table,
    Words,
    dice,
    headers,
    learning_rate,
    p_value,
    signed,
)
from brats_ablate.tables.tested_scores import EPOCHS, RunKey

_PERCENT: Format = "{:.0%}".format
_SENTENCES = {
    BETTER: "{column} is better than {baseline}{negligible}.",
    WORSE: "{column} is worse than {baseline}{negligible}.",
    EQUIVALENT: "{column} is equivalent to {baseline} (within ±{rope:g}).",
    UNDECIDED: "{column} vs {baseline} is undecided.",
}
_TOGETHER = {BETTER: "gain more together", WORSE: "gain less together", EQUIVALENT: "add up"}
"""Verdict → what it says of an interaction."""


def differences_table(result: TableResult) -> Table:
    """Return each column compared with its baseline, with the verdict in words."""
    heads = headers(
        "", "baseline", "Δ mean Dice", "95 % CI", "p", "verdict", "min. detectable Δ", "patients", "runs per fold",
        "paper Δ", "paper p",
    )  # fmt: skip
    rows: list[Row] = []
    for c in result.comparisons:
        column, baseline = result.columns[c.column].column, result.columns[c.baseline].column
        printed = column.paper.recomputed - baseline.paper.recomputed if column.paper and baseline.paper else None
        rows.append(
            (
                Words(column.title), Words(baseline.title), *tested_cells(c),
                Number(c.minimum_detectable_effect, dice), Number(c.cases or None, str),
                Number(len(c.runs) or None, str),
                Number(printed, signed), Number(result.paper_p.get(c.column), p_value),
            )
        )  # fmt: skip
    if all(row[-2].raw == {"": None} for row in rows):  # the paper printed none of them
        heads, rows = heads[:-2], [row[:-2] for row in rows]
    return Table(f"{result.spec.name}_differences", "Differences", heads, tuple(rows), tuple(_notes(result)))


def tested_cells(c: Tested) -> tuple[Cell, ...]:
    """Return difference, interval, p and verdict."""
    return Number(c.difference, signed), Bounds(c.interval, signed), Number(c.p_adjusted, p_value), verdict_cell(c)


def verdict_cell(c: Tested) -> Words:
    """Return the verdict with its reason."""
    mark: Mark = c.verdict if c.verdict == BETTER or c.verdict == WORSE else ""
    return Words(c.verdict, c.reason, mark=mark)


def _notes(result: TableResult) -> Iterator[str]:
    rope = f"{result.settings.rope:g}"
    trained = [c for c in result.comparisons if is_trained(c, result)]
    if trained:
        yield (
            f"Δ: mean over each run's last validated epochs (up to {EPOCHS}, in the final tenth of the schedule) and "
            "over the learning rates and seeds that both columns have in every shared fold; not the best epoch, so it "
            "differs from the scores above. 95 % CI: over patients and training runs; not adjusted for the number of "
            "columns. p: adjusted over the columns of the table (step-down maxT)."
        )
    yield (
        f"Verdict: better or worse if p ≤ 0.05, negligible if the CI lies within ±{rope}; else equivalent if "
        f"the CI lies within ±{rope}; else undecided. Not decided: not tested, for the reason given. Min. "
        "detectable Δ: the true difference that is significant with 80 % power."
    )
    if len({(c.folds, c.runs, c.cases) for c in trained if not math.isnan(c.p_adjusted)}) > 1:
        yield "Columns that share different runs, folds or patients with their baseline are tested apart; p counts all."
    if any(c.is_small for c in result.comparisons):
        yield "Small sample: with fewer than 20 patients, intervals and verdicts may miss their stated error rates."
    yield from evaluated_notes(result)


def sources_table(result: TableResult) -> Table:
    """Return the differences of single runs, the shares of the variance, and the same on patients with ET."""
    region = result.labels.sized_region
    heads = headers(
        "", "Δ by run", "from patients", "from training", "CI, other cohort", "noise floor",
        f"Δ with {region}", f"95 % CI with {region}", f"p with {region}", f"verdict with {region}",
        f"no {region}: gained, lost",
    )  # fmt: skip
    rows: list[Row] = []
    for c in result.comparisons:
        if math.isnan(c.p_adjusted) or not is_trained(c, result):
            continue
        of_patients = c.case_variance / c.variance
        on_reference = tested_cells(c.on_reference) if c.on_reference else (Absent(),) * 4
        runs = ", ".join(f"{run_text(key)} {signed(d)}" for key, d in zip(c.runs, c.run_differences, strict=True))
        rows.append(
            (
                Words(result.columns[c.column].column.title), Words(runs),
                Number(of_patients, _PERCENT), Number(1 - of_patients, _PERCENT),
                Bounds(c.other_cohort, signed), Number(c.noise_floor, dice), *on_reference, _flips(c),
            )
        )  # fmt: skip
    notes = [
        "Δ by run: of each learning rate and seed. From patients, from training: shares of the variance of Δ. CI, "
        "other cohort: with the training part enlarged for another training set (Nadeau and Bengio 2003). Noise floor: "
        "the |Δ| that training alone exceeds in 5 % of repetitions where two recipes are equal."
    ]
    if all(isinstance(cell, Absent) for row in rows for cell in row[6:]):
        heads, rows = heads[:6], [row[:6] for row in rows]
    else:
        notes.append(
            f"With {region}: on the patients whose reference has it, tested as a family of its own. No {region}: of "
            "the patients without it in the reference, those that only the column (gained) or only the baseline (lost) "
            "predicts without it."
        )
    return Table(f"{result.spec.name}_sources", "Sources of variability", heads, tuple(rows), tuple(notes))


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


def comparisons_dict(result: TableResult) -> list[dict[str, Any]]:
    """Return all numbers of every comparison for JSON; a number that cannot be estimated is null."""
    titles = [c.column.title for c in result.columns]
    rows = [asdict(c) | {"column": titles[c.column], "baseline": titles[c.baseline]} for c in result.comparisons]
    for row in rows:
        if row["on_reference"]:
            row["on_reference"] |= {"column": row["column"], "baseline": row["baseline"]}
    nulled: list[dict[str, Any]] = finite_or_null(rows)
    return nulled


def run_text(key: RunKey) -> str:
    """Return a learning rate, with the seed unless it is 0."""
    lr, seed = key
    return learning_rate(lr) + (f" seed {seed}" if seed else "")


def _flips(c: Comparison) -> Cell:
    return Words(f"{c.flips.gained}, {c.flips.lost} of {c.flips.patients}") if c.flips else Absent()
