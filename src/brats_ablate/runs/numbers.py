"""Check of recorded values that later code computes with."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from operator import itemgetter
from typing import Any

COMPUTED_WITH = (
    *("epoch", "step", "dice", "peak_memory_bytes", "seconds"),
    *(f"seconds/{phase}" for phase in ("data", "forward", "backward", "optimizer", "validation")),
)
"""Keys of `metrics.jsonl` whose values must be numbers; others, also of later versions, are shown or passed over."""


def require_numbers(rows: Iterable[Mapping[str, Any]], keys: Iterable[str]) -> None:
    """Check that the values of `keys`, where recorded, are numbers or null, and epochs integers.

    Raises:
        TypeError: one is something else.
    """
    rows = list(rows)
    for key in keys:
        kind = int if key.startswith("epoch") else int | float | None
        try:  # all rows have most keys
            recorded_types = set(map(type, map(itemgetter(key), rows)))
        except KeyError:
            recorded_types = {type(row[key]) for row in rows if key in row}
        for recorded in recorded_types:
            if not issubclass(recorded, kind):
                wrong = next(row[key] for row in rows if type(row.get(key)) is recorded)
                raise TypeError(f"{key} is {wrong!r}")
