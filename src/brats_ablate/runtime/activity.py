"""What this process does and when it last made progress, for the message about a process that hangs."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

_reads: dict[int, str] = {}
"""What each thread reads now; the one that began first is first."""


@contextmanager
def reading(what: str) -> Iterator[None]:
    """Record that this thread reads `what` within the block."""
    thread = threading.get_ident()
    _reads[thread] = what
    try:
        yield
    finally:
        del _reads[thread]


class Mark(NamedTuple):
    """The last progress of a process."""

    step: int
    """Finished training steps."""
    at: float
    """Seconds since the epoch (wall clock)."""
    doing: str
    """What it began then."""
    waits_for_reads: bool = False
    waits_for_ranks: bool = False

    def __str__(self) -> str:
        reads = list(_reads.values()) if self.waits_for_reads else []
        return f"reading {reads[0]}" if reads else self.doing


class Activity:
    """The activity of a process: its main thread marks progress, any thread can read it."""

    def __init__(self) -> None:
        self.last = Mark(0, time.time(), "starting")
        self.ended = threading.Event()
        """Set when no more progress is expected."""

    def mark(self, doing: str, *, step: int | None = None, waits_for_reads: bool = False) -> None:
        """Record that something was finished, and what is done next; `step` are the finished steps, if it was one."""
        self.last = Mark(self.last.step if step is None else step, time.time(), doing, waits_for_reads)

    @contextmanager
    def waiting_for_ranks(self) -> Iterator[None]:
        """Record that this process waits for the others within the block."""
        before = self.last
        self.last = before._replace(at=time.time(), waits_for_ranks=True)
        yield
        self.last = before._replace(at=time.time())
