"""A run whose output nobody reads any more: a closed terminal saves and stops it, a closed pipe does not."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from scaffolding import finished_epochs, wait_until

from brats_ablate.runs.directory import RunDirectory
from brats_ablate.runs.state import RunState
from brats_ablate.runtime import signals

pytestmark = pytest.mark.slow
LINE = ("+experiment=baseline", "fold=0", "lr=0.001", "trainer.epochs=40", "trainer.crops_per_case=4")


def state(run: RunDirectory) -> tuple[RunState, str | None]:
    status = run.status()
    return status.state, status.reason


def test_a_closed_terminal_interrupts(work: Path, small: tuple[str, ...], run: RunDirectory) -> None:
    terminal, inside = os.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "brats_ablate", *small, *LINE, "trainer.progress=bar"],
        cwd=work,
        env=os.environ | {"BRATS_ABLATE_WORK": str(work)},
        text=True,
        preexec_fn=lambda: (os.login_tty(inside), signal.signal(signal.SIGHUP, signal.SIG_DFL)),  # not nohup's
    )
    os.close(inside)
    os.set_blocking(terminal, False)

    def has_finished_an_epoch() -> bool:
        with contextlib.suppress(BlockingIOError):
            os.read(terminal, 1 << 16)  # a full terminal would stop the run
        return finished_epochs(run) > 0

    wait_until(has_finished_an_epoch, process)
    os.close(terminal)
    assert process.wait(300) == signals.EXIT_CODE
    assert state(run) == (RunState.INTERRUPTED, None)


@pytest.mark.parametrize("epochs", [0, 1])
def test_a_closed_pipe_changes_nothing(
    launch: Callable[..., subprocess.Popen[str]], run: RunDirectory, epochs: int
) -> None:
    process = launch(*LINE, "trainer.epochs=4")
    wait_until(lambda: finished_epochs(run) >= epochs, process)
    process.stdout.close()
    assert process.wait(300) == 0
    assert state(run) == (RunState.FINISHED, None)
