"""Choose the tables that a report shows: those with results, and none that another one contains."""

from __future__ import annotations

from collections.abc import Sequence

from brats_ablate.tables.build import ColumnResult, TableResult


def has_result(column: ColumnResult) -> bool:
    """Return whether a column has a score."""
    return bool(column.scores.per_fold_lr.finished) or not column.case_scores.empty


def distinct_tables(results: Sequence[TableResult]) -> list[TableResult]:
    """Return the tables that show something which the others do not; all of `results` while none has a score.

    What counts are columns with a score, comparisons of two of them, and effects of factors. Tables with the paper's
    figures go first, then those that show most. One of all experiments, or of all evaluations, goes last and is shown
    only for columns that no other table has.
    """
    scored = [r for r in results if r.ranking or any(map(has_result, r.columns))]
    shown: list[TableResult] = []
    covered: set[object] = set()
    for result in sorted(scored, key=_order):
        if (_sources(result) if result.spec.selects else _contents(result)) <= covered:
            continue
        shown.append(result)
        covered |= _contents(result)
    return [r for r in scored if r in shown] or list(results)


def _order(result: TableResult) -> tuple[bool, bool, int, int]:
    has_paper = any(c.column.paper for c in result.columns)
    empty = sum(not has_result(column) for column in result.columns)
    return bool(result.spec.selects), not has_paper, -len(_contents(result)), empty


def _contents(result: TableResult) -> set[object]:
    """Return a table's scored columns, its pairs of them, its factors, and whether it is a ranking."""
    pairs = {
        (result.columns[c.column].column.source, result.columns[c.baseline].column.source)
        for c in result.comparisons
        if has_result(result.columns[c.column]) and has_result(result.columns[c.baseline])
    }
    return {*_sources(result), *pairs, *([frozenset(result.spec.factors)] if result.effects else []), *result.ranking}


def _sources(result: TableResult) -> set[object]:
    return {c.column.source for c in result.columns if has_result(c)}
