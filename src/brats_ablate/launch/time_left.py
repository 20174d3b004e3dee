"""Time that a sweep on this machine still needs, from the epochs that its runs have finished since it was started."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence

from brats_ablate.launch.sweep import SweepRun
from brats_ablate.runtime.text import format_duration

_SECONDS_BETWEEN_LINES = 600.0


class SweepClock:
    """Estimates the time left; every epoch counts alike, and concurrent runs are part of the rate.

    Args:
        sweep_runs: the sweep; what its runs have finished before now does not count.
    """

    def __init__(self, sweep_runs: Sequence[SweepRun]) -> None:
        self._runs = sweep_runs
        self._before = sum(self._finished(i) for i in range(len(sweep_runs)))
        self._started = self._last_line = time.monotonic()

    def seconds_left(self, unfinished: Iterable[int]) -> float | None:
        """Return the time that `unfinished`, as indices into the sweep, need; None before the first epoch."""
        done = sum(self._finished(i) for i in range(len(self._runs))) - self._before
        to_do = sum(int(self._runs[i].cfg.trainer.epochs) - self._finished(i) for i in unfinished if self._runs[i].run)
        if done <= 0 or to_do <= 0:
            return None
        return (time.monotonic() - self._started) / done * to_do

    def text(self, unfinished: Iterable[int]) -> str:
        """Return the time left as the end of a line, "" if it is not known."""
        self._last_line = time.monotonic()
        seconds = self.seconds_left(unfinished)
        return "" if seconds is None else f"  (about {format_duration(seconds)} left for the sweep)"

    @property
    def is_due(self) -> bool:
        """True if nobody has read the time left for ten minutes."""
        return time.monotonic() - self._last_line >= _SECONDS_BETWEEN_LINES

    def _finished(self, index: int) -> int:
        status = self._runs[index].status
        return status.epoch if status else 0
