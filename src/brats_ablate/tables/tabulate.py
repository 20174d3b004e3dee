"""Arrange a table's numbers in rows and columns: scores, differences, variability, subgroups, training and cost."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise, zip_longest

from brats_ablate.labels.scheme import LabelScheme
from brats_ablate.runs.state import RunState
from brats_ablate.tables.build import ColumnResult, TableResult, mixed_settings
from brats_ablate.tables.comparison import (
    BETTER,
    FEW_PATIENTS,
    NEGLIGIBLE,
    SMALL_SAMPLE,
    WORSE,
    Comparison,
    is_negligible,
)
from brats_ablate.tables.differences import differences_table, effects_table, sources_table
from brats_ablate.tables.evaluated_tables import is_trained, outside_folds_table
from brats_ablate.tables.run_tables import cost_table, setup_cells, training_table
from brats_ablate.tables.scores import FoldScore
from brats_ablate.tables.statistics import UNKNOWN
from brats_ablate.tables.table import (
    DASH,
    Absent,
    Bounds,
    Cell,
    Detail,
    Header,
    Mark,
    Number,
    Row,
    Table,
    Words,
    dice,
    fold_list,
    headers,
    learning_rate,
    p_value,
    signed,
)
from brats_ablate.tables.training_setup import TITLES, fold_differences, recorded_values, setup_differences
from brats_ablate.tables.training_size import size_table


def metric_policy(labels: LabelScheme, *, is_trained: bool = True) -> str:
    """Return what a score is, in words; of trained columns also how the epoch is chosen."""
    *others, last = labels.averaged_names
    chosen = "Per fold the highest validated epoch and the best learning rate, averaged over seeds."
    return (
        f"Mean Dice of {', '.join(others)}{' and ' if others else ''}{last} over a fold's validation cases; a region "
        f"that is empty in the reference scores 1 if it is predicted empty, else 0.{f' {chosen}' if is_trained else ''}"
    )


def tabulate(result: TableResult) -> list[Table]:
    """Return the table itself, then those of its further tables that have rows."""
    table, *further = all_tables(result)
    return [table, *(part for part in further if part.rows)]


def all_tables(result: TableResult) -> list[Table]:
    """Return the table itself, then its further tables, with or without rows."""
    if result.spec.ranking:
        return [ranking_table(result)]
    further = (
        outside_folds_table, differences_table, effects_table, sources_table, size_table, selection_bias_table,
        strata_table, training_table, cost_table,
    )  # fmt: skip
    return [scores_table(result), *(make(result) for make in further)]


def scores_table(result: TableResult) -> Table:
    """Return the rows fold 0 … and mean; the paper's figures next to ours."""
    columns = result.columns
    has_several_lr = len({lr for c in columns for lr in c.scores.learning_rates}) > 1
    rows = []
    for fold in range(result.folds):
        scores = [c.scores.per_fold_lr.folds[fold] for c in columns]
        marks = best_marks([s.value for s in scores], is_fair=have_same_cases(columns, fold))
        ours = [_fold_cell(s, has_several_lr, mark) for s, mark in zip(scores, marks, strict=True)]
        rows.append(_with_paper(f"Fold {fold}", columns, ours, [_paper_cell(c, fold) for c in columns]))
    is_fair = all(have_same_cases(columns, fold) for fold in range(result.folds))
    marks = best_marks([c.scores.per_fold_lr.mean for c in columns], is_fair=is_fair)
    means = [mean_cell(c, mark) for c, mark in zip(columns, marks, strict=True)]
    rows.append(_with_paper("Mean", columns, means, [_paper_mean(c) for c in columns]))
    rows.append(_with_paper("SD over folds", columns, [Number(c.scores.per_fold_lr.sd, dice) for c in columns]))
    if any(c.column.evaluation is None for c in columns):
        rows.append(_with_paper("Mean (single best LR)", columns, [_shared_lr_cell(c) for c in columns]))
    heads = [Header("", "")]
    for c in columns:
        heads.append(Header(c.column.title, c.column.title))
        heads += [Header("paper", f"{c.column.title} paper", is_paper=True)] if c.column.paper else []
    spec = result.spec
    return Table(spec.name, spec.title, tuple(heads), tuple(rows), tuple(_notes(result)), frozenset({result.folds}))


def training_rows(result: TableResult) -> list[Row]:
    """Return further rows of the table, for a document that shows it alone: how its columns were trained."""
    if not any(c.scores.runs for c in result.columns):
        return []
    of_field = zip(*(setup_cells(c) for c in result.columns), strict=True)
    names = (name.capitalize() for name in TITLES.values())
    return [
        _with_paper(name, result.columns, cells)
        for name, cells in zip(names, of_field, strict=True)
        if not all(isinstance(cell, Absent) for cell in cells)
    ]


def interval_rows(result: TableResult) -> list[Row]:
    """Return further rows of the table: each column's difference to its baseline, interval, p and verdict."""
    of_column = {c.column: c for c in result.comparisons}
    known = [of_column.get(i) for i in range(len(result.columns))]
    named: dict[str, Sequence[Cell]] = {
        "Δ to baseline": [Number(c.difference if c else None, signed) for c in known],
        "95 % CI": [Bounds(c.interval if c else UNKNOWN, signed) for c in known],
        "adjusted p": [Number(c.p_adjusted if c else None, p_value) for c in known],
        "verdict": [Words(c.verdict, _short_reason(c, result)) if c else Absent() for c in known],
    }
    return [_with_paper(name, result.columns, cells) for name, cells in named.items()]


def _short_reason(c: Comparison, result: TableResult) -> str:
    """Return the parts of a verdict's reason that fit into a column of scores."""
    is_tiny = c.verdict in (BETTER, WORSE) and is_negligible(c, result.settings)
    folds = f"{c.folds} of {result.folds} folds" if 0 < c.folds < result.folds else ""
    return "; ".join(filter(None, [NEGLIGIBLE * is_tiny, folds, SMALL_SAMPLE * c.is_small]))


def selection_bias_table(result: TableResult) -> Table:
    """Return the SD across folds and seeds, and what choosing epoch and learning rate on the fold itself adds."""
    rows: list[Row] = []
    for c in result.columns:
        if c.scores.per_fold_lr.mean is None or c.column.evaluation is not None:
            continue
        parts = c.components
        sds = (parts.fold_sd, parts.seed_sd) if parts else (c.scores.per_fold_lr.sd, None)
        optimism = (c.scores.epoch_optimism, c.scores.lr_optimism)
        rows.append((Words(c.column.title), *(Number(x, dice) for x in sds), *(Number(x, signed) for x in optimism)))
    notes = (
        "SD across folds excludes the variance across seeds if seeds are replicated. Optimism: what choosing the "
        "epoch (best instead of last), or the learning rate (per fold instead of one), on the validation fold itself "
        "adds to the mean Dice.",
    )
    heads = headers("", "SD across folds", "SD across seeds", "epoch-selection optimism", "LR-selection optimism")
    return Table(f"{result.spec.name}_choices", "Variability and selection bias", heads, tuple(rows), notes)


def strata_table(result: TableResult) -> Table:
    """Return Dice and difference by subgroup of cases."""
    rows: list[Row] = []
    for s in result.strata:
        small = SMALL_SAMPLE if s.patients < FEW_PATIENTS and not math.isnan(s.interval.low) else ""
        names = (Words(s.title, small), Words(result.columns[s.column].column.title), Number(s.cases, str))
        means = (Number(value, dice) for value in s.dice.tolist())
        rows.append((*names, *means, Number(s.difference, signed), Bounds(s.interval, signed)))
    rules = {i for i, (a, b) in enumerate(pairwise(result.strata), 1) if a.title != b.title}
    heads = headers(
        "subgroup", "", "n", *(f"Dice {region}" for region in result.labels.regions), "Δ mean Dice", "95 % CI"
    )
    title = f"Subgroup analysis (by {result.labels.sized_region} volume)"
    best = "Scores of trained columns are of the best epochs at the best learning rates, which favor more rates "
    best = f"{best}and noisier epochs. " if any(result.spec.is_trained(s.column) for s in result.strata) else ""
    notes = (f"{best}95 % CI: Student's t over patients, of these networks as trained; no test.",)
    return Table(f"{result.spec.name}_strata", title, heads, tuple(rows), notes, frozenset(rules))


def ranking_table(result: TableResult) -> Table:
    """Return the published ranking scores, ours next to them."""
    ranks = [f"{rank} (the paper)" if rank == 1 else str(rank) for rank in range(1, len(result.spec.ranking) + 1)]
    published = zip(ranks, result.spec.ranking, strict=True)
    left, right = (
        [(Words(name), Number(x, "{:.3f}".format)) for name, x in half] for half in (published, result.ranking)
    )
    heads = headers("rank", "published", *(("ours", "score") if result.ranking else ()))
    rows = [(*a, *b)[: len(heads)] for a, b in zip_longest(left, right, fillvalue=(Absent(""), Absent("")))]
    notes = (
        "Each method is ranked per case, region and metric (Dice, HD95); ranks are averaged and divided by the number "
        "of methods: lower is better. Scores of different sets of methods are not comparable.",
    )
    return Table(result.spec.name, result.spec.title, heads, tuple(rows), notes)


def _with_paper(name: str, columns: Sequence[ColumnResult], ours: Sequence[Cell], paper: Sequence[Cell] = ()) -> Row:
    """Return a row of our cells, each followed by the paper's where the column has any."""
    cells: list[Cell] = [Words(name)]
    for i, column in enumerate(columns):
        cells += [ours[i], paper[i] if paper else Absent("")] if column.column.paper else [ours[i]]
    return tuple(cells)


def have_same_cases(columns: Sequence[ColumnResult], fold: int) -> bool:
    """Return whether all columns that have cases of a fold have the same ones."""
    in_fold = (frozenset(c.case_scores.index[c.case_scores["fold"] == fold]) for c in columns)
    return len({cases for cases in in_fold if cases}) <= 1


def best_marks(values: Sequence[float | None], *, is_fair: bool = True) -> list[Mark]:
    """Mark the highest of our values, to four decimals; none if there is only one, or they are of different cases."""
    if not is_fair:
        return [""] * len(values)
    rounded = [None if v is None else round(v, 4) for v in values]
    known = [v for v in rounded if v is not None]
    return ["best" if len(known) > 1 and v == max(known) else "" for v in rounded]


def _fold_cell(score: FoldScore, show_lr: bool, mark: Mark) -> Cell:
    if score.state == "missing" or score.state == "unfinished":
        return Absent(score.state, mark=score.state)
    return Number(score.value, dice, _lr(score) if show_lr else None, mark=mark)


def _lr(score: FoldScore) -> Detail | None:
    return None if score.lr is None else Detail("lr", score.lr, learning_rate)


def mean_cell(c: ColumnResult, mark: Mark) -> Cell:
    """Return a column's mean over folds, or how many folds it has."""
    scores = c.scores.per_fold_lr
    if scores.mean is None:
        return Absent(f"{DASH} ({len(scores.finished)} of {len(scores.folds)} folds)")
    return Number(scores.mean, dice, mark=mark)


def _shared_lr_cell(c: ColumnResult) -> Cell:
    scores = c.scores.shared_lr
    return Absent() if scores is None else Number(scores.mean, dice, _lr(scores.folds[0]))


def _paper_cell(c: ColumnResult, fold: int) -> Cell:
    folds = c.column.paper.folds if c.column.paper else ()
    return Number(folds[fold], dice) if fold < len(folds) else Absent("")


def _paper_mean(c: ColumnResult) -> Cell:
    if c.column.paper is None or c.column.paper.mean is None:
        return Absent("")
    return Number(c.column.paper.mean, "{:.4f}!".format if c.column.paper.is_misprint else dice)


def unreadable_runs(result: TableResult) -> Iterator[str]:
    """Yield a note for each run of a table that is left out of it, as a record of it is damaged."""
    for run in (run for c in result.columns for run in c.scores.runs if run.status.state == RunState.UNREADABLE):
        yield f"! {run.coordinates}: {run.status.reason}."


def _notes(result: TableResult) -> Iterator[str]:
    yield metric_policy(result.labels, is_trained=any(not c.column.evaluation for c in result.columns))
    if result.spec.hides_paper:
        yield "The paper's figures, of BraTS 2021 and 1,000 epochs, are not shown; job.paper=true adds them."
    for c in result.columns:
        paper = c.column.paper
        if paper and paper.note:
            yield f"{c.column.title}: {paper.note}."
        if paper and paper.mean is not None and paper.is_misprint:
            erratum = f"; {paper.erratum}" if paper.erratum else ""
            printed = f"the paper prints {dice(paper.mean)}, the mean of its folds is {paper.recomputed:.5f}"
            yield f"! {c.column.title}: {printed}{erratum}."
    if any(is_trained(c, result) and not math.isnan(c.p_adjusted) for c in result.comparisons):
        yield "Differences and verdicts compare the means of the last epochs, not these best epochs; see Differences."
    is_compared = any(result.spec.baseline_of(i) is not None for i in range(len(result.columns)))
    if result.spec.selects and len(result.columns) > 1 and not is_compared:
        yield "No column is the baseline, so nothing is compared; choose one: job=tables job.baseline=<name>."
    yield from unreadable_runs(result)
    scheduled = [v for c in result.columns for v in recorded_values(c.scores.runs, "validation") if "tenth" in v]
    if scheduled:
        yield "Best epochs are those of the final tenth of training, not of all epochs."
    columns = [(c.column.title, c.scores.runs) for c in result.columns]
    yield from setup_differences(columns)
    yield from fold_differences(columns, result.folds)
    for c in result.columns:
        if not c.has_any:
            name = c.column.evaluation
            reason = f"not evaluated; run job=evaluate job.name={name}" if name else "no run"
            yield f"{c.column.title}: {reason}."
            continue
        yield from (f"! {c.column.title}: {note}." for note in c.notes)
        outside = [s.cases for s in result.test_sets if result.columns[s.column] is c]
        if outside and all(score.value is None for score in c.scores.per_fold_lr.folds):
            yield f"{c.column.title}: {outside[0]} cases of no fold; see the test sets."
            continue
        folds_of: dict[str, list[int]] = {}
        for fold, score in enumerate(c.scores.per_fold_lr.folds):
            if score.value is None:
                folds_of.setdefault(score.note, []).append(fold)
        for note, folds in folds_of.items():
            yield f"{c.column.title}, {fold_list(folds)}: {note}."
        if mixed := mixed_settings(c.scores.runs):
            yield f"{c.column.title}: its runs differ in {', '.join(mixed)}; they are not one experiment."
    fingerprints = {r.manifest.get("data_fingerprint") for c in result.columns for r in c.scores.runs}
    if len(fingerprints - {None}) > 1:
        yield "The runs were trained on different data (their fingerprints differ): columns are not comparable."
