"""Turns a table's results into sheets of text cells, which `render` and `terminal` write in any format."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from brats_ablate.labels import REGIONS
from brats_ablate.tables import statistics
from brats_ablate.tables.build import ColumnResult, TableResult, mixed_settings
from brats_ablate.tables.comparison import Comparison
from brats_ablate.tables.cost import Cost
from brats_ablate.tables.formatting import DASH, dice, interval, learning_rate, number, p_value, signed
from brats_ablate.tables.scores import MISSING, UNFINISHED, Cell, Scores

METRIC_POLICY = (
    "Mean Dice of WT, TC and ET over a fold's validation cases; a region that is empty in the reference scores 1 if it "
    "is predicted empty, else 0. Per fold the highest validated epoch and the best learning rate, averaged over seeds."
)


@dataclass(frozen=True)
class Sheet:
    """A table of text: `bold` and `rules` are places in `rows` (row, column) and rows that a line goes above."""

    name: str
    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()
    bold: frozenset[tuple[int, int]] = field(default_factory=frozenset)
    rules: frozenset[int] = field(default_factory=frozenset)


def sheets_of(result: TableResult) -> list[Sheet]:
    """The table itself, then differences, seeds and choices, kinds of case, cost; those that have anything to say."""
    if result.study.ranking:
        return [ranking_sheet(result)]
    found = [scores_sheet(result)]
    found += [differences_sheet(result)] if result.comparisons else []
    makers = (choices_sheet, strata_sheet, cost_sheet)
    return found + [sheet for maker in makers if (sheet := maker(result)).rows]


def scores_sheet(result: TableResult) -> Sheet:
    """Rows fold 0 … and mean; the paper's figures beside ours."""
    columns = result.columns
    header = [
        "",
        *_flat(_beside(c, c.column.title, "paper") for c in columns),
    ]
    show_lr = len({lr for c in columns for lr in c.scores.learning_rates}) > 1
    rows = []
    for fold in range(result.folds):
        cells = (_beside(c, _cell(c.scores.best_lr.cells[fold], show_lr), _paper_fold(c, fold)) for c in columns)
        rows.append((f"Fold {fold}", *_flat(cells)))
    paper_means = [
        dice(c.column.paper.mean) + ("!" if c.column.paper.is_misprint else "") if c.column.paper else ""
        for c in columns
    ]
    means = (_beside(c, _mean(c.scores.best_lr), p) for c, p in zip(columns, paper_means, strict=True))
    rows.append(("Mean", *_flat(means)))
    rows.append(("sd over folds", *_flat(_beside(c, _sd(c), "") for c in columns)))
    if any(c.column.evaluation is None for c in columns):
        rows.append(("Mean, one learning rate", *_flat(_beside(c, _one_lr(c.scores.one_lr), "") for c in columns)))
    return Sheet(
        name=result.study.name,
        title=result.study.title,
        header=tuple(header),
        rows=tuple(rows),
        notes=tuple(_notes(result)),
        bold=frozenset(_best_places(result)),
        rules=frozenset({result.folds}),
    )


def differences_sheet(result: TableResult) -> Sheet:
    """Each column held against its baseline, with the verdict in words."""
    header: tuple[str, ...] = (
        "", "against", "Δ mean Dice", "95 % interval", "verdict", "p cases", "Holm, cases", "p folds", "Holm, folds",
        "cases", "seen from", "to see this Δ", "paper Δ", "paper p folds",
    )  # fmt: skip
    rows: list[tuple[str, ...]] = []
    for c in result.comparisons:
        mine, theirs = result.columns[c.column].column, result.columns[c.against].column
        paper = signed(mine.paper.recomputed - theirs.paper.recomputed) if mine.paper and theirs.paper else DASH
        rows.append(
            (
                mine.title, theirs.title, signed(c.shown_difference), interval(c.interval), f"{c.verdict}: {c.reason}",
                p_value(c.p_cases), p_value(c.p_holm), p_value(c.p_folds), p_value(c.p_folds_holm),
                str(c.cases or DASH), dice(c.detectable), _needed(c, result),
                paper, p_value(result.paper_p_folds[c.column]),
            )
        )  # fmt: skip
    if all(row[-2] == DASH for row in rows):
        header, rows = header[:-2], [row[:-2] for row in rows]
    notes = [
        "Δ and interval: paired over cases (bootstrap). p cases: paired permutation; Holm: corrected over the columns. "
        "p folds: corrected resampled t-test; Holm: corrected over the columns that the cases tell apart. "
        "Better or worse is said where both corrected p are at most 0.05. Seen from: the smallest Δ that as many "
        "cases show with 80 % power. To see this Δ: cases (and seeds per fold, where their scatter is known) that do."
    ]
    if result.noise_floor is not None:
        notes.append(f"Noise floor: another choice of seeds alone moves Δ by up to {dice(result.noise_floor)} (95 %).")
    else:
        notes.append("Noise floor: not known; train one column with a second seed (seed=1) to measure it.")
    return Sheet(f"{result.study.name}_differences", "Differences", header, tuple(rows), tuple(notes))


def _needed(c: Comparison, result: TableResult) -> str:
    """Cases and seeds with which the difference found would be seen with 80 % power."""
    if math.isnan(c.cases_needed):
        return DASH
    if math.isinf(c.cases_needed):
        return "no number"
    seed_sd = statistics.pooled_seed_sd([x.components for x in result.columns if x.components is not None])
    cases = f"{c.cases_needed:.0f} cases"
    if seed_sd is None:
        return cases
    seeds = statistics.seeds_needed(seed_sd, result.folds, c.difference)
    return f"{cases}, {seeds:.0f} seed{'s' if seeds > 1 else ''}"


def choices_sheet(result: TableResult) -> Sheet:
    """Scatter between folds and seeds, and what choosing epoch and learning rate on the fold itself adds."""
    header = ("", "sd folds", "sd seeds", "best epoch − last", "best lr per fold − one lr")
    rows = []
    for c in result.columns:
        if c.scores.best_lr.mean is None or c.column.evaluation is not None:
            continue
        parts = c.components
        fold_sd, seed_sd = (dice(parts.fold_sd), dice(parts.seed_sd)) if parts else (_sd(c), DASH)
        rows.append((c.column.title, fold_sd, seed_sd, signed(c.scores.epoch_optimism), signed(c.scores.lr_optimism)))
    notes = (
        "sd folds has the seeds' share taken out where seeds are replicated. The last two columns are optimism: "
        "what choosing the epoch, or the learning rate, on the validation fold itself adds to the mean Dice.",
    )
    return Sheet(f"{result.study.name}_choices", "Scatter and choices", header, tuple(rows), notes)


def strata_sheet(result: TableResult) -> Sheet:
    """Dice and difference by kind of case."""
    header = ("cases", "", "n", *(f"Dice {region}" for region in REGIONS), "Δ mean Dice", "95 % interval")
    rows: list[tuple[str, ...]] = []
    rules = set()
    for stratum in result.strata:
        rules.add(len(rows))
        for column, n, means, delta in zip(
            result.columns, stratum.cases, stratum.dice, stratum.differences, strict=True
        ):
            if means is not None:
                shown = (signed(delta[0]), interval(delta[1])) if delta else (DASH, DASH)
                rows.append((stratum.title, column.column.title, str(n), *(dice(v) for v in means), *shown))
    return Sheet(f"{result.study.name}_strata", "By kind of case", header, tuple(rows), rules=frozenset(rules - {0}))


def cost_sheet(result: TableResult) -> Sheet:
    """Cost of every column; in brackets, where that is known, relative to what it is held against."""
    header = (
        "", "parameters", "GFLOPs", "s / step", "h / run", "peak GiB", "device-hours", "h in all", "runs", "device",
    )  # fmt: skip
    rows = []
    for i, c in enumerate(result.columns):
        if not c.scores.runs:
            continue
        against = result.study.against(i)
        cost, base = c.cost, None if against is None else result.columns[against].cost
        as_many = base if base is not None and base.runs == cost.runs else None
        rows.append(
            (
                c.column.title, _beside_base(cost, base, "parameters", 2, "M"), _beside_base(cost, base, "gflops", 1),
                _beside_base(cost, base, "seconds_per_step", 3), _beside_base(cost, base, "hours_per_run", 2),
                _beside_base(cost, base, "peak_memory_gib", 2), _beside_base(cost, as_many, "device_hours", 2),
                number(cost.hours, 2), f"{cost.finished} of {cost.runs}", cost.device or DASH,
            )
        )  # fmt: skip
    notes = (
        "In brackets: relative to the baseline (of device-hours where both have as many runs). GFLOPs: forward, one "
        "training patch. s / step: training alone. Device-hours: of all runs, times their devices. "
        "Runs: finished of started.",
    )
    return Sheet(f"{result.study.name}_cost", "Cost", header, tuple(rows), notes)


def _beside_base(cost: Cost, base: Cost | None, key: str, decimals: int, unit: str = "") -> str:
    """One figure of `cost`; in brackets its ratio to the same figure of `base`. Unit "M": in millions."""
    value, reference = getattr(cost, key), getattr(base, key, None)
    if value is None:
        return DASH
    shown = f"{value / 1e6:.{decimals}f} M" if unit else f"{value:.{decimals}f}"
    return shown + (f" ({value / reference:.2f}×)" if reference else "")


def ranking_sheet(result: TableResult) -> Sheet:
    """The published ranking scores, ours beside them."""
    published = [
        (f"{place}" + (" (the paper)" if place == 1 else ""), f"{s:.3f}")
        for place, s in enumerate(result.study.ranking, 1)
    ]
    ours = list(result.ranking)
    height = max(len(published), len(ours))
    padded = [*published, *[("", "")] * (height - len(published))]
    mine = [*((name, f"{value:.3f}") for name, value in ours), *[("", "")] * (height - len(ours))]
    rows = tuple((*a, *b) for a, b in zip(padded, mine, strict=True)) if ours else tuple(padded)
    header = ("place", "published", "ours", "score") if ours else ("place", "published")
    notes = (
        "Each contestant is ranked per case, region and metric (Dice, HD95); ranks are averaged and divided by the "
        "number of contestants: lower is better. Scores of different sets of contestants do not compare.",
    )
    return Sheet(result.study.name, result.study.title, header, rows, notes)


def _cell(cell: Cell, show_lr: bool) -> str:
    if cell.value is None:
        return {MISSING: "missing", UNFINISHED: "unfinished"}[cell.state]
    return dice(cell.value) + (f" ({learning_rate(cell.lr)})" if show_lr and cell.lr is not None else "")


def _paper_fold(c: ColumnResult, fold: int) -> str:
    folds = c.column.paper.folds if c.column.paper else ()
    return dice(folds[fold]) if fold < len(folds) else ""


def _mean(scores: Scores) -> str:
    if scores.mean is not None:
        return dice(scores.mean)
    return f"{DASH} ({len(scores.finished)} of {len(scores.cells)} folds)"


def _sd(c: ColumnResult) -> str:
    return dice(c.scores.best_lr.sd)


def _one_lr(scores: Scores | None) -> str:
    if scores is None or scores.mean is None:
        return DASH
    lr = scores.cells[0].lr
    return dice(scores.mean) + (f" ({learning_rate(lr)})" if lr is not None else "")


def _beside(c: ColumnResult, ours: str, paper: str) -> list[str]:
    return [ours, paper] if c.column.paper else [ours]


def _flat(cells: object) -> list[str]:
    return [text for pair in cells for text in pair]  # type: ignore[attr-defined]


def _best_places(result: TableResult) -> set[tuple[int, int]]:
    """The highest of our values per fold and of the means; none where only one column has a value."""
    places, at = [], 1
    for c in result.columns:
        places.append(at)
        at += 2 if c.column.paper else 1
    found: set[tuple[int, int]] = set()
    lines: list[Sequence[float | None]] = [
        [c.scores.best_lr.values[f] for c in result.columns] for f in range(result.folds)
    ]
    lines.append([c.scores.best_lr.mean for c in result.columns])
    for row, values in enumerate(lines):
        known = [round(v, 4) for v in values if v is not None]
        if len(known) > 1:
            found |= {
                (row, p) for p, v in zip(places, values, strict=True) if v is not None and round(v, 4) == max(known)
            }
    return found


def _notes(result: TableResult) -> list[str]:
    notes = [METRIC_POLICY]
    for c in result.columns:
        paper = c.column.paper
        if paper and paper.is_misprint:
            why = f"; {paper.erratum}" if paper.erratum else ""
            notes.append(
                f"! {c.column.title}: the paper prints {dice(paper.mean)}, the mean of its folds is "
                f"{paper.recomputed:.5f}{why}."
            )
    for c in result.columns:
        notes += _gaps(c)
        if mixed := mixed_settings(c.scores.runs):
            notes.append(f"{c.column.title}: its runs differ in {', '.join(mixed)}; they are not one experiment.")
    fingerprints = {r.manifest.get("data_fingerprint") for c in result.columns for r in c.scores.runs}
    if len(fingerprints - {None}) > 1:
        notes.append("The runs were trained on different data (their fingerprints differ): the columns do not compare.")
    return notes


def _gaps(c: ColumnResult) -> list[str]:
    if not c.has_any:
        return [f"{c.column.title}: no run."]
    cells = enumerate(c.scores.best_lr.cells)
    return [f"{c.column.title}, fold {fold}: {cell.note}." for fold, cell in cells if cell.value is None]
