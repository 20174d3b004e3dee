"""Warnings on standard error, and output that nobody reads any more: its terminal was closed, or its pipe has ended."""

from __future__ import annotations

import os
import select
import sys
from collections.abc import Iterable
from functools import lru_cache

from brats_ablate.runtime.text import printable


def discard_unread_output(descriptors: Iterable[int] = (1, 2)) -> None:
    """Let what is written to those of `descriptors` vanish whose reader has ended; it raised OSError before."""
    for descriptor in descriptors:
        poll = select.poll()
        poll.register(descriptor, select.POLLOUT)
        if any(events & (select.POLLERR | select.POLLHUP) for _, events in poll.poll(0)):
            nothing = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nothing, descriptor)
            os.close(nothing)


def print_line(text: str) -> None:
    """Print a line now, unless the reader of the output has ended: what a run prints does not decide its fate."""
    try:
        print(text, flush=True)
    except OSError:
        discard_unread_output()


def print_message(sentence: object) -> None:
    """Print a sentence of the program to standard error."""
    print(f"brats-ablate: {printable(str(sentence))}", file=sys.stderr, flush=True)


@lru_cache
def warn_once(sentence: str) -> None:
    """Print a sentence as `print_message`, unless this process has printed it before."""
    print_message(sentence)
