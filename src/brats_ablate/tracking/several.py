"""Several trackers at once."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial

from brats_ablate.tracking.base import RunInfo, Tracker, ValidationImage
from brats_ablate.tracking.guarded import ForwardingTracker, GuardedTracker


class SeveralTrackers(ForwardingTracker):
    """Passes everything on to each of its trackers. One that fails ends alone.

    Args:
        run: what is logged.
        trackers: name -> what makes a tracker of `run`; the names are the keys of the configuration.
    """

    def __init__(self, run: RunInfo, **trackers: Callable[..., Tracker]) -> None:
        self._trackers = [GuardedTracker(partial(make, run=run), run) for make in trackers.values()]

    def log_image(self, make_image: Callable[[], ValidationImage]) -> None:
        """Pass an image on, which is drawn once."""
        super().log_image(cache(make_image))

    def _call(self, method: str, *arguments: object) -> None:
        for tracker in self._trackers:
            getattr(tracker, method)(*arguments)
