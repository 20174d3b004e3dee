"""Stop requests: signal handlers set a flag, and the training loop saves its exact state and exits at the next step.

SIGTERM (preemption, `scancel`), SIGUSR1 and SIGUSR2 (time limits), SIGHUP (a closed terminal) and the first Ctrl-C only
set a flag. A second Ctrl-C stops at once. SIGHUP stays ignored where it was, as under nohup.
"""

from __future__ import annotations

import signal
import sys
import threading
from types import FrameType

EXIT_CODE = 75  # EX_TEMPFAIL of sysexits.h: not finished, no progress lost, restart to continue
_SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGINT, signal.SIGHUP)
_requested = threading.Event()


class Interrupted(Exception):
    """The work was stopped on request and has saved its state; the same command continues it."""


def install_handlers() -> None:
    """Turn the signals into stop requests; has no effect outside the main thread."""
    if threading.current_thread() is threading.main_thread():
        for number in _SIGNALS:
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, _on_signal)


def stop_requested() -> bool:
    """Return True if a stop was requested."""
    return _requested.is_set()


def _on_signal(number: int, frame: FrameType | None) -> None:
    if number == signal.SIGINT:
        if _requested.is_set():
            raise KeyboardInterrupt
        message = "\nStopping after this step (saving). Press Ctrl-C again to abort immediately."
        print(message, file=sys.stderr, flush=True)
    _requested.set()
