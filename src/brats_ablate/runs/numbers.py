"""Check of recorded values that later code computes with."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
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
    kinds = {key: int if key.startswith("epoch") else int | float | None for key in keys}
    for row in rows:
        for key, kind in kinds.items():
            if key in row and not isinstance(row[key], kind):
                raise TypeError(f"{key} is {row[key]!r}")
