"""Several trackers at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from brats_ablate.tracking.base import RunInfo, Tracker, ValidationImage
from brats_ablate.tracking.guarded import GuardedTracker

if TYPE_CHECKING:
    from pandas import DataFrame


class SeveralTrackers:
    """Passes everything on to each of its trackers. One that fails ends alone.

    Args:
        run: what is logged.
        trackers: name -> what makes a tracker of `run`; the names are the keys of the configuration.
    """

    def __init__(self, run: RunInfo, **trackers: Callable[..., Tracker]) -> None:
        self._trackers = [GuardedTracker(partial(make, run=run), run) for make in trackers.values()]

    def resume(self, step: int, rows: Sequence[dict[str, Any]]) -> None:
        """Pass on where training starts."""
        for tracker in self._trackers:
            tracker.resume(step, rows)

    def log_step(self, step: int, values: Mapping[str, float]) -> None:
        """Pass the metrics of a step on."""
        for tracker in self._trackers:
            tracker.log_step(step, values)

    def log_image(self, make_image: Callable[[], ValidationImage]) -> None:
        """Pass an image on, which is drawn once."""
        drawn_once = cache(make_image)
        for tracker in self._trackers:
            tracker.log_image(drawn_once)

    def log(self, row: dict[str, Any]) -> None:
        """Pass one epoch's line of metrics.jsonl on."""
        for tracker in self._trackers:
            tracker.log(row)

    def log_checkpoints(self, files: Sequence[Path]) -> None:
        """Pass checkpoints on."""
        for tracker in self._trackers:
            tracker.log_checkpoints(files)

    def log_tables(self, tables: Mapping[str, DataFrame]) -> None:
        """Pass tables on."""
        for tracker in self._trackers:
            tracker.log_tables(tables)

    def finish(self) -> None:
        """End each tracker."""
        for tracker in self._trackers:
            tracker.finish()
