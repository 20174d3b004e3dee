"""Standard output and error that nobody reads any more, because a terminal was closed or the reader of a pipe ended."""

from __future__ import annotations

import os
import select
from collections.abc import Iterable


def discard_unread_output(descriptors: Iterable[int] = (1, 2)) -> None:
    """Let what is written to those of `descriptors` vanish whose reader has ended; it raised OSError before."""
    for descriptor in descriptors:
        poll = select.poll()
        poll.register(descriptor, select.POLLOUT)
        if any(events & (select.POLLERR | select.POLLHUP) for _, events in poll.poll(0)):
            nothing = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nothing, descriptor)
            os.close(nothing)
