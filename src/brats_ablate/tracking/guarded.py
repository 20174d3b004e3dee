"""A tracker whose failures end the tracking, not the training, and the base of trackers that pass everything on."""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from brats_ablate.errors import UserError
from brats_ablate.runtime.text import first_line
from brats_ablate.tracking.base import NullTracker, RunInfo, Tracker, ValidationImage

if TYPE_CHECKING:
    from pandas import DataFrame


class ForwardingTracker(ABC):
    """A tracker that passes everything on."""

    def resume(self, step: int, rows: Sequence[dict[str, Any]]) -> None:
        """Pass on where training starts."""
        self._call("resume", step, rows)

    def log_step(self, step: int, values: Mapping[str, float]) -> None:
        """Pass the metrics of a step on."""
        self._call("log_step", step, values)

    def log_image(self, make_image: Callable[[], ValidationImage]) -> None:
        """Pass an image on."""
        self._call("log_image", make_image)

    def log(self, row: dict[str, Any]) -> None:
        """Pass one epoch's line of metrics.jsonl on."""
        self._call("log", row)

    def log_checkpoints(self, files: Sequence[Path]) -> None:
        """Pass checkpoints on."""
        self._call("log_checkpoints", files)

    def log_tables(self, tables: Mapping[str, DataFrame]) -> None:
        """Pass tables on."""
        self._call("log_tables", tables)

    def finish(self) -> None:
        """Pass the end on."""
        self._call("finish")

    @abstractmethod
    def _call(self, method: str, *arguments: object) -> None:
        """Pass a call of `method` on."""


class GuardedTracker(ForwardingTracker):
    """Passes everything on until the tracker fails; then says so once and logs nothing more.

    Args:
        build: makes the tracker.
        run: what it tracks.

    Raises:
        UserError: `build` was called with impossible settings.
    """

    def __init__(self, build: Callable[[], Tracker], run: RunInfo) -> None:
        self._run = run
        self._tracker: Tracker = NullTracker(run)
        try:
            self._tracker = build()
        except UserError:
            raise
        except Exception as error:  # whatever a library raises for its network, its key or its disk
            self._give_up(error)

    def _call(self, method: str, *arguments: object) -> None:
        try:
            getattr(self._tracker, method)(*arguments)
        except Exception as error:  # as above
            self._give_up(error)

    def _give_up(self, error: Exception) -> None:
        self._tracker = NullTracker(self._run)
        print(
            f"brats-ablate: tracking of {self._run.name} ended ({first_line(error)}); the run continues, and "
            f"everything is recorded in {self._run.folder}",
            file=sys.stderr,
            flush=True,
        )
