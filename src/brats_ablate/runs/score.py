"""The score of a run: its best epoch."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any


def validated_rows(metrics: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows of validated epochs; the untrained network does not count."""
    return [row for row in metrics if row["epoch"] and row.get("dice") is not None]


def best_epoch(metrics: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Return the row of the epoch with the highest mean Dice, of equal ones the earlier; {} without any."""
    return max(validated_rows(metrics), key=lambda row: (row["dice"], -row["epoch"]), default={})
