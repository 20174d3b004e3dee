"""Time that a running run still needs, by the training and the validations that its schedule still has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from brats_ablate.launch.status import EPOCHS_TIMED, epochs_alike
from brats_ablate.runs.directory import RunDirectory, RunRecord
from brats_ablate.training.validation_schedule import Kind, ValidationSchedule

SCHEDULE = "brats_ablate.training.validation_schedule.ValidationSchedule"


def seconds_left(run: RunDirectory, record: RunRecord, rows: Sequence[Mapping[str, Any]]) -> float | None:
    """Return the time left by median times of the last epochs; None before the first one.

    A kind of validation that the last epochs had not is estimated from the other kind.

    Args:
        run: its configuration names the schedule.
        record: its progress.
        rows: the end of its metrics.
    """
    schedule = _schedule(run)
    trained = [row["seconds"] - row.get("seconds/validation", 0) for row in rows if row["epoch"] and row.get("seconds")]
    if schedule is None or not trained or not record.epochs:
        return epochs_alike(run, record, rows)
    from brats_ablate.tables.designs import INTERIM, EpochSeconds  # imports numpy, which most statuses do not need

    def seconds(kind: Kind) -> float:
        of_kind = [row for row in rows if schedule.kind(row["epoch"], record.epochs) == kind]
        times = [row["seconds/validation"] for row in of_kind if row.get("seconds/validation")]
        return median(times[-EPOCHS_TIMED:]) if times else 0.0

    interim, final = seconds("interim"), seconds("final")
    of_epoch = EpochSeconds("", median(trained[-EPOCHS_TIMED:]), interim or INTERIM * final, final or interim / INTERIM)
    kinds = [schedule.kind(epoch, record.epochs) for epoch in range(record.epoch + 1, record.epochs + 1)]
    return of_epoch.of_run(len(kinds), kinds.count("interim"), kinds.count("final"))


def _schedule(run: RunDirectory) -> ValidationSchedule | None:
    """Return the schedule that a run was configured with; None if its epochs are alike, or it is not this package's."""
    node = run.config().get("validation") or {}
    every, final_every = node.get("every"), node.get("final_every")
    if node.get("_target_") != SCHEDULE or not isinstance(every, int) or (every, final_every) == (1, None):
        return None
    return ValidationSchedule(every, final_every)
