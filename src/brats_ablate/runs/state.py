"""The states of a training run."""

from __future__ import annotations

from enum import StrEnum


class RunState(StrEnum):
    """State of a run, in the order in which they are counted.

    RUNNING, FINISHED, INTERRUPTED and FAILED are written to `status.json` by the run itself. The others are derived by
    whoever reads its directory.
    """

    FINISHED = "finished"
    RUNNING = "running"
    QUEUED = "queued"
    """Its job waits in the scheduler's queue."""
    INTERRUPTED = "interrupted"
    """Stopped on request; its state is saved."""
    FAILED = "failed"
    LOST = "lost"
    """Its process ended without recording why: killed, or its node failed."""
    UNREADABLE = "unreadable"
    """A file of its directory is damaged."""
    NOT_STARTED = "not started"
    IMPORTED = "imported"
    """Not trained here: `job=import` wrote its directory, below a folder of its own, for prediction."""
