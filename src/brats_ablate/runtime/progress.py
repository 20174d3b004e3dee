"""Progress of a long preparation: a bar on a terminal, a plain line now and then in a log."""

from __future__ import annotations

import time
from types import TracebackType

_SECONDS_BETWEEN_LINES = 10.0


class ProgressBar:
    """Counts up to `total`; shows rate and time left.

    Args:
        what: shown before the count.
        total: number of steps; with 0 nothing is shown.
    """

    def __init__(self, what: str, total: int) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )
        from rich.progress import Progress as Bar

        self.what, self.total, self.done = what, total, 0
        self._started = self._told = time.monotonic()
        console = Console()
        self._bar = None
        if console.is_terminal and total:
            columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
            self._bar = Bar(TextColumn("{task.description}"), *columns, console=console)
            self._task = self._bar.add_task(what, total=total)

    def __enter__(self) -> ProgressBar:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def advance(self, note: str = "") -> None:
        """One more step is done; `note` is shown beside the count."""
        self.done += 1
        if self._bar is not None:
            self._bar.update(self._task, advance=1, description=f"{self.what} {note}".strip())
            return
        now = time.monotonic()
        if self.done == self.total or now - self._told >= _SECONDS_BETWEEN_LINES:
            self._told = now
            left = (now - self._started) / self.done * (self.total - self.done)
            notes = f", {note}" if note else ""
            print(f"{self.what}: {self.done}/{self.total}{notes}, {left:.0f} s left", flush=True)
