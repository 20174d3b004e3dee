"""Warnings on standard error, and output that nobody reads any more: its terminal was closed, or its pipe has ended."""

from __future__ import annotations

import contextlib
import io
import select
import sys
from functools import lru_cache
from typing import Any

from brats_ablate.runtime.text import printable


class _Output(io.FileIO):
    """A standard stream that drops what is written after its reader has ended, which raises OSError otherwise."""

    def write(self, data: Any, /) -> int:
        try:
            return super().write(data)
        except OSError:
            if is_read(self.fileno()):
                raise
            return memoryview(data).nbytes


def outlive_readers() -> None:
    """Let this process go on after `| head` has ended or the terminal was closed; lines are written one by one."""
    for name, stream in (("stdout", sys.__stdout__), ("stderr", sys.__stderr__)):
        if stream is not None and getattr(sys, name) is stream:  # else a notebook or a test has replaced it
            raw = io.BufferedWriter(_Output(stream.fileno(), "w", closefd=False))
            setattr(sys, name, io.TextIOWrapper(raw, stream.encoding, stream.errors, line_buffering=True))


def is_read(descriptor: int = 1) -> bool:
    """Return False if the reader of a pipe or terminal has ended."""
    poll = select.poll()
    poll.register(descriptor, select.POLLOUT)
    return not any(events & (select.POLLERR | select.POLLHUP) for _, events in poll.poll(0))


def print_line(text: str) -> None:
    """Print a line now, unless it cannot be written (a full disk): what a run prints does not decide its fate."""
    with contextlib.suppress(OSError):
        print(text, flush=True)


def print_message(sentence: object) -> None:
    """Print a sentence of the program to standard error."""
    print(f"brats-ablate: {printable(str(sentence))}", file=sys.stderr, flush=True)


@lru_cache
def warn_once(sentence: str) -> None:
    """Print a sentence as `print_message`, unless this process has printed it before."""
    print_message(sentence)
