"""What signals ask of a run, in this process."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from brats_ablate.runtime import signals

NUMBERS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGINT, signal.SIGHUP)


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """Restore the handlers, and the state of no request."""
    before = {number: signal.getsignal(number) for number in NUMBERS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)
    signals._requested.clear()


@pytest.mark.parametrize("number", NUMBERS)
def test_a_first_signal_asks_to_stop(number: signal.Signals) -> None:
    signal.signal(number, lambda *_: None)  # what nohup ignores, too
    signals.install_handlers()
    assert not signals.stop_requested()
    os.kill(os.getpid(), number)
    assert signals.stop_requested()


def test_a_second_ctrl_c_stops_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    signals.install_handlers()
    os.kill(os.getpid(), signal.SIGINT)
    assert "Press Ctrl-C again to abort immediately" in capsys.readouterr().err
    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)


def test_a_hangup_stays_ignored_where_it_was() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signals.install_handlers()
    os.kill(os.getpid(), signal.SIGHUP)
    assert not signals.stop_requested()
