"""Choose the tables that a report shows: those with results, and none that another one contains."""

from __future__ import annotations

from collections.abc import Sequence

from brats_ablate.tables.build import ColumnResult, TableResult


def has_result(column: ColumnResult) -> bool:
    """Return whether a column has a score."""
    return bool(column.scores.per_fold_lr.finished) or not column.case_scores.empty


def distinct_tables(results: Sequence[TableResult]) -> list[TableResult]:
    """Return the tables that show something which no other one does; all of `results` while none has a score.

    A table is left out if another has all its columns and comparisons. Of two equal ones that with the paper's figures
    stays, then that with fewer columns without a score. One of all experiments or all evaluations stays only for
    columns that no other table has.
    """
    scored = [r for r in results if r.ranking or any(map(has_result, r.columns))]
    if not scored:
        return list(results)
    ordered = sorted(scored, key=_rank)
    kept = [
        r for i, r in enumerate(ordered) if not any(_contains(o, r, i < k) for k, o in enumerate(ordered) if k != i)
    ]
    of_others = {source for r in kept if not r.spec.selects for source in _sources(r)}
    return [r for r in scored if r in kept and not (r.spec.selects and _sources(r) <= of_others)]


def _rank(result: TableResult) -> tuple[bool, bool, int]:
    empty = sum(not has_result(column) for column in result.columns)
    return bool(result.spec.selects), not any(c.column.paper for c in result.columns), empty


def _contains(other: TableResult, result: TableResult, is_first: bool) -> bool:
    """Return whether `other` shows all that `result` does. `is_first`: `result` goes first where they are equal."""
    theirs, ours = _contents(other), _contents(result)
    if other.spec.selects and not result.spec.selects and any(isinstance(item, tuple) for item in ours):
        return False
    return ours < theirs or (ours == theirs and not is_first)


def _contents(result: TableResult) -> set[object]:
    """Return a table's scored columns, its pairs of them, its factors, and whether it is a ranking."""
    pairs = {
        (result.columns[c.column].column.source, result.columns[c.baseline].column.source)
        for c in result.comparisons
        if has_result(result.columns[c.column]) and has_result(result.columns[c.baseline])
    }
    return {*_sources(result), *pairs, *([frozenset(result.spec.factors)] if result.effects else []), *result.ranking}


def _sources(result: TableResult) -> set[str]:
    return {c.column.source for c in result.columns if has_result(c)}
