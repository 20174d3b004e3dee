"""The score of a run: what a sweeper searches by."""

from __future__ import annotations

from brats_ablate.runs.directory import RunDirectory


def best_score(run: RunDirectory, key: str) -> float | None:
    """Return the value `key` of the epoch with the highest mean Dice, of equal ones the earlier; None without any.

    Args:
        run: may be unfinished.
        key: "dice", the mean over the regions, or one region's, such as "dice/ET".
    """
    validated = [row for row in run.metrics() if row["epoch"] and row.get("dice") is not None]
    return max(validated, key=lambda row: (row["dice"], -row["epoch"]), default={}).get(key)
