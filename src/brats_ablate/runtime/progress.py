"""Progress of a long job: a bar in a terminal, a plain line every ten seconds in a log."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")

_SECONDS_BETWEEN_LINES = 10.0


class ProgressBar:
    """Counts up to `total` and shows the time left.

    Args:
        label: shown before the count.
        total: number of steps; 0 shows nothing.
    """

    def __init__(self, label: str, total: int) -> None:
        from rich import progress as rich
        from rich.console import Console

        self.label, self.total, self.done = label, total, 0
        self._started = self._last_line = time.monotonic()
        console = Console()
        self._bar = None
        if console.is_terminal and total:
            columns = (rich.MofNCompleteColumn(), rich.TimeElapsedColumn(), rich.TimeRemainingColumn())
            self._bar = rich.Progress("{task.description}", rich.BarColumn(), *columns, console=console)
            self._task = self._bar.add_task(label, total=total)

    def __enter__(self) -> ProgressBar:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def advance(self, note: str = "") -> None:
        """Count one more finished step; `note` is shown next to the count."""
        self.done += 1
        if self._bar is not None:
            self._bar.update(self._task, advance=1, description=f"{self.label} {note}".strip())
            return
        now = time.monotonic()
        if self.done == self.total or now - self._last_line >= _SECONDS_BETWEEN_LINES:
            self._last_line = now
            left = (now - self._started) / self.done * (self.total - self.done)
            notes = f", {note}" if note else ""
            print(f"{self.label}: {self.done}/{self.total}{notes}, {left:.0f} s left", flush=True)


def with_progress(items: Iterable[Item], label: str, total: int) -> Iterator[Item]:
    """Yield `items`, and count them up to `total` in a `ProgressBar`."""
    with ProgressBar(label, total) as progress:
        for item in items:
            progress.advance()
            yield item
