"""The table of test sets, and notes on comparisons of evaluated columns: what they are about, and what differs."""

from __future__ import annotations

from collections.abc import Iterator

from brats_ablate.tables.build import ColumnResult, TableResult
from brats_ablate.tables.comparison import FEW_PATIENTS, SMALL_SAMPLE, Comparison
from brats_ablate.tables.evaluation_record import evaluation_differences
from brats_ablate.tables.table import Bounds, Number, Row, Table, Words, dice, headers


def outside_folds_table(result: TableResult) -> Table:
    """Return the scores on cases of no fold, next to the cross-validated ones."""
    rows: list[Row] = []
    for s in result.test_sets:
        column = result.columns[s.column]
        means = (*(Number(value, dice) for value in s.dice.tolist()), Number(s.mean, dice))
        spread = (Number(s.sd, dice), Bounds(s.interval, dice))
        validated = Number(_cross_validated(column, result), dice)
        small = SMALL_SAMPLE if s.patients < FEW_PATIENTS else ""
        rows.append((Words(column.column.title, small), Number(s.cases, str), *means, *spread, validated))
    regions = (f"Dice {region}" for region in result.labels.regions)
    heads = headers("", "n", *regions, "mean Dice", "SD", "95 % CI", "cross-validated")
    notes = (
        "Cases that belong to no fold. SD and 95 % CI (Student's t): over patients. Cross-validated: "
        "mean over the folds' validation cases, of the same column or of that of the same networks.",
    )
    return Table(f"{result.spec.name}_test_sets", "Test sets", heads, tuple(rows), notes)


def _cross_validated(column: ColumnResult, result: TableResult) -> float | None:
    """Return the mean over folds of a column, or else of the column of the experiment that predicted its cases."""
    own = column.scores.per_fold_lr.mean
    experiments = column.evaluation.experiments if column.evaluation else set()
    same = [c.scores.per_fold_lr.mean for c in result.columns if experiments == {c.column.key}]
    return next((mean for mean in (own, *same) if mean is not None), None)


def evaluated_notes(result: TableResult) -> Iterator[str]:
    """Say what a comparison of evaluated columns is about, and what differs between the two."""
    compared = [c for c in result.comparisons if c.cases and not is_trained(c, result)]
    if compared:
        yield (
            "Evaluated columns are compared as these trained networks, on common cases; another training run may "
            "differ. Δ: mean over folds. 95 % CI and p: t-test over patients within folds, p corrected over these "
            "comparisons (Holm)."
        )
    for c in compared:
        column, baseline = result.columns[c.column], result.columns[c.baseline]
        if column.evaluation is None or baseline.evaluation is None:
            continue
        differing = evaluation_differences(
            (column.evaluation, column.case_scores), (baseline.evaluation, baseline.case_scores)
        )
        if differing:
            yield f"{column.column.title} vs {baseline.column.title} also differ in: {'; '.join(differing)}."


def is_trained(c: Comparison, result: TableResult) -> bool:
    """Return whether both columns are scored by their validation, not by `job=evaluate`."""
    return result.spec.is_trained(c.column, c.baseline)
