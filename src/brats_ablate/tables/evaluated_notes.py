"""Notes below the differences of evaluated columns: what they are about, and what differs between two columns."""

from __future__ import annotations

from collections.abc import Iterator

from brats_ablate.tables.build import TableResult
from brats_ablate.tables.comparison import Comparison
from brats_ablate.tables.evaluation_record import evaluation_differences


def evaluated_notes(result: TableResult) -> Iterator[str]:
    """Say what a comparison of evaluated columns is about, and what differs between the two."""
    compared = [c for c in result.comparisons if c.cases and not is_trained(c, result)]
    if compared:
        yield (
            "Evaluated columns are compared as these trained networks, on common cases; another training run may "
            "differ. Δ: mean over folds. 95 % CI and p cases: t-test over patients within folds; Holm: over these "
            "comparisons."
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
    return not any(result.columns[i].column.evaluation for i in (c.column, c.baseline))
