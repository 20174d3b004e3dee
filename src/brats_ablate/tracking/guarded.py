"""A tracker whose failures end the tracking, not the training, and the base of trackers that pass everything on."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

from brats_ablate.errors import ConstructionFailed, UserError
from brats_ablate.runtime.output import print_message
from brats_ablate.runtime.text import first_line
from brats_ablate.tracking.base import NullTracker, RunInfo, Tracker


def _passed_on(method: str) -> Callable[..., None]:
    def pass_on(self: ForwardingTracker, *arguments: object) -> None:
        self._call(method, *arguments)

    return pass_on


class ForwardingTracker(ABC):
    """A tracker that passes everything on."""

    resume = _passed_on("resume")
    log_step = _passed_on("log_step")
    log_image = _passed_on("log_image")
    log = _passed_on("log")
    log_checkpoints = _passed_on("log_checkpoints")
    log_tables = _passed_on("log_tables")
    finish = _passed_on("finish")

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
        except ConstructionFailed as error:
            self._give_up(error.__cause__ or error)
        except UserError:
            raise
        except Exception as error:  # whatever a library raises for its network, its key or its disk
            self._give_up(error)

    def _call(self, method: str, *arguments: object) -> None:
        try:
            getattr(self._tracker, method)(*arguments)
        except Exception as error:  # as above
            self._give_up(error)

    def _give_up(self, error: BaseException) -> None:
        self._tracker = NullTracker(self._run)
        print_message(
            f"tracking of {self._run.name} ended ({first_line(error)}); the run continues, and everything is recorded "
            f"in {self._run.folder}"
        )
