"""The report's first section: what was compared, the verdicts, the best variant, the cost, and what is missing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from statistics import fmean

from brats_ablate.report.selection import has_result
from brats_ablate.runtime.text import counted, first_few, format_duration
from brats_ablate.tables.build import ColumnResult, TableResult
from brats_ablate.tables.comparison import BETTER, WORSE
from brats_ablate.tables.cost import cost_of, unit_of_device_hours
from brats_ablate.tables.differences import verdict_numbers, verdict_sentence
from brats_ablate.tables.results import NO_FOLD
from brats_ablate.tables.scores import RunSummary
from brats_ablate.tables.table import dice
from brats_ablate.tables.tabulate import have_same_cases

_MOST_NAMES = 8


def summary_section(shown: Sequence[TableResult], runs: Sequence[RunSummary]) -> str:
    """Return the section.

    Args:
        shown: tables of the report.
        runs: all training runs that have started.
    """
    verdicts = "".join(f"<li>{line}</li>" for line in _verdicts(shown))
    sentences = (_compared(shown, runs), _best(shown), _cost(runs), _missing(shown, runs))
    compared, *others = [f"<p>{sentence}</p>" if sentence else "" for sentence in sentences]
    return (
        '<section id="summary"><h2>Summary</h2>'
        + compared
        + (f'<ul class="verdicts">{verdicts}</ul>' if verdicts else "")
        + "".join(others)
        + "</section>"
    )


def missing_folds(shown: Sequence[TableResult]) -> dict[str, list[int]]:
    """Return experiment → folds without a finished run, of those that lack some."""
    columns = {c.column.key: c for r in shown for c in r.columns if c.column.experiment}
    states = {key: [score.state for score in c.scores.per_fold_lr.folds] for key, c in columns.items()}
    missing = {key: [fold for fold, state in enumerate(s) if state != "finished"] for key, s in states.items()}
    return {key: folds for key, folds in missing.items() if folds}


def _verdicts(shown: Sequence[TableResult]) -> Iterator[str]:
    """Yield each comparison once, though several tables may have it."""
    seen = set()
    for result in shown:
        for c in result.comparisons:
            column, baseline = result.columns[c.column], result.columns[c.baseline]
            pair = (column.column.source, baseline.column.source)
            if pair in seen or not (has_result(column) and has_result(baseline)):
                continue
            seen.add(pair)
            kind = c.verdict if c.verdict in (BETTER, WORSE) else "same"
            sentence = f'<b class="{kind}">{escape(verdict_sentence(result, c))}</b>'
            yield f"{sentence} {escape(verdict_numbers(result, c))}".rstrip()


def _scored(shown: Sequence[TableResult]) -> list[ColumnResult]:
    """Return the columns with a result, each source once, as it is first shown."""
    scored: dict[str, ColumnResult] = {}
    for c in (c for r in shown for c in r.columns if has_result(c)):
        scored.setdefault(c.column.source, c)
    return list(scored.values())


def _compared(shown: Sequence[TableResult], runs: Sequence[RunSummary]) -> str:
    columns = _scored(shown)
    if not columns:
        return f"No result yet: {counted(len(runs), 'run')} started, none finished."
    names = list(dict.fromkeys(c.column.title for c in columns))  # trained and evaluated is one variant
    listed = first_few([escape(name) for name in names], _MOST_NAMES)
    fold_of = {case: fold for c in columns for case, fold in c.case_scores["fold"].items()}
    outside = sum(fold == NO_FOLD for fold in fold_of.values())
    validated = len(fold_of) - outside
    folds = {fold for c in columns for fold in c.scores.per_fold_lr.finished_folds}
    of = f" of {shown[0].folds}" if len(folds) < shown[0].folds else ""
    on = f"on {counted(validated, 'case')} " if validated else ""  # the best epochs of some runs have no rows of cases
    parts = [f"{on}in {counted(len(folds), 'fold')}{of}"] if folds else []
    parts += [f"on {counted(outside, 'case')} of no fold"] if outside else []
    return f"{counted(len(names), 'variant')} ({listed}) {' and '.join(parts)}."


def _best(shown: Sequence[TableResult]) -> str:
    """Name the highest mean Dice over the folds that all variants have; of trained variants if there are any."""
    scored = [c for c in _scored(shown) if c.scores.per_fold_lr.finished]
    columns = [c for c in scored if c.column.evaluation is None] or scored
    values = [c.scores.per_fold_lr.values for c in columns]
    common = [fold for fold, of_fold in enumerate(zip(*values, strict=True)) if None not in of_fold]
    if len(columns) < 2 or not common or not all(have_same_cases(columns, fold) for fold in common):
        return ""
    means = [dice(fmean(v[fold] or 0.0 for fold in common)) for v in values]
    best = [escape(c.column.title) for c, mean in zip(columns, means, strict=True) if mean == max(means)]
    over = f"fold {common[0]}" if len(common) == 1 else f"the {len(common)} folds that all have"
    of_epochs = " (best epochs)" if columns[0].column.evaluation is None else ""
    return f"Highest mean Dice: {' and '.join(best)}, {max(means)} over {over}{of_epochs}."


def _cost(runs: Sequence[RunSummary]) -> str:
    cost = cost_of(runs)
    if not cost.hours:
        return ""
    hours = cost.device_hours
    devices = f" ({hours:,.1f} {unit_of_device_hours(runs)})" if hours and hours != cost.hours else ""
    return f"Cost: {format_duration(3600 * cost.hours)} of training{devices} in {counted(cost.runs, 'run')}."


def _missing(shown: Sequence[TableResult], runs: Sequence[RunSummary]) -> str:
    started = {run.coordinates.name for run in runs}
    missing = missing_folds(shown)
    partly = [folds for key, folds in missing.items() if key in started]
    parts = [f"{counted(sum(map(len, partly)), 'fold')} of {counted(len(partly), 'variant')}"] if partly else []
    unfinished = sum(not run.is_finished for run in runs)
    counts = ((len(missing) - len(partly), "untrained variant"), (unfinished, "unfinished run"))
    listed = ", ".join([*parts, *(counted(n, noun) for n, noun in counts if n)])
    return f'Missing: {listed} (<a href="#missing">list and commands</a>).' if listed else "Nothing is missing."
