"""Stop requests from outside: a signal asks, the training loop answers at the next step by saving its exact state.

SIGTERM (preemption, `scancel`), SIGUSR1 and SIGUSR2 (time limits) and the first Ctrl-C only set a flag. A second
Ctrl-C stops at once.
"""

from __future__ import annotations

import signal
import sys
import threading
from types import FrameType

EXIT_CODE = 75  # EX_TEMPFAIL of sysexits.h: not done, nothing lost, start me again
_SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGINT)
_requested = threading.Event()


class Interrupted(Exception):
    """The work was asked to stop and has saved its state; the same command continues it."""


def install_handlers() -> None:
    """Answer the signals with a request instead of death. Does nothing outside the main thread."""
    if threading.current_thread() is threading.main_thread():
        for number in _SIGNALS:
            signal.signal(number, _on_signal)


def request_stop() -> None:
    """Ask the work in this process to save and stop."""
    _requested.set()


def stop_requested() -> bool:
    """Whether somebody asked the work in this process to save and stop."""
    return _requested.is_set()


def _on_signal(number: int, frame: FrameType | None) -> None:
    if number == signal.SIGINT:
        if _requested.is_set():
            raise KeyboardInterrupt
        print("\nsaving and stopping at the next step; Ctrl-C again stops at once", file=sys.stderr, flush=True)
    _requested.set()
