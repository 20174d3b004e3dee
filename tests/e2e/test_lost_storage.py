"""The file system is lost under a run: a named cause, exit code 1, an intact last checkpoint, and a resume."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from scaffolding import finish, finished_epochs, wait_until

from brats_ablate.runs.directory import RunDirectory
from brats_ablate.runs.state import RunState
from brats_ablate.runtime import signals

pytestmark = pytest.mark.slow(minutes=3)
Command = Callable[..., subprocess.CompletedProcess[str]]
RUN = ("+experiment=baseline", "fold=0", "lr=0.001", "trainer.checkpoint_minutes=0.0001", "trainer.epochs=4")
STALE = """
import errno, os
from brats_ablate.jobs import train
from brats_ablate.training.trainer import Trainer
replace, save = os.replace, Trainer._save
def run(cfg):
    def stale(source, target, **options):
        if os.environ.get("STALE", "nothing") in str(target):
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE), str(target))
        replace(source, target, **options)
    def lose_at_the_third(self):
        if self.state.epoch == 3:
            self._writer.wait()  # what was written before is safe
            os.replace = stale
        save(self)
    Trainer._save = lose_at_the_third
    train.run(cfg)
"""


@pytest.fixture(autouse=True)
def stand_in(importable: Callable[[str, str], None]) -> None:
    importable("lost.train", STALE)


def checkpoint_epoch(run: RunDirectory) -> int:
    """Epoch of the last checkpoint, which must be intact."""
    return int(torch.load(run.last_checkpoint, weights_only=True)["position"]["epoch"])


def message(run: RunDirectory) -> str:
    return f"Stale file handle: {run.last_checkpoint}; the file system is lost or failing; bring it back and run"


def test_checkpoints_that_cannot_be_written_anymore(brats_ablate: Command, run: RunDirectory) -> None:
    done = brats_ablate(*RUN, "job._target_=lost.train.run", STALE="last.pt")
    assert done.returncode == 1, done.stdout
    assert f"brats-ablate: {message(run)} the same command again" in done.stdout
    assert "Traceback" not in done.stdout
    status = run.status()
    assert (status.state, status.epoch) == (RunState.FAILED, 2)
    assert str(status.reason).startswith(message(run))
    assert checkpoint_epoch(run) == 2
    assert message(run) in brats_ablate("job=status").stdout
    done = brats_ablate(*RUN, "job._target_=lost.train.run")
    assert done.returncode == 0, done.stdout


def test_a_run_that_cannot_write_its_status_is_reported_by_the_sweep(brats_ablate: Command, run: RunDirectory) -> None:
    launcher = ("-m", "hydra/launcher=submitit_local", "hydra.launcher.poll_seconds=0.2")
    done = brats_ablate(*RUN, "job._target_=lost.train.run", *launcher, STALE="seed=0")
    assert done.returncode == 1, done.stdout
    (line,) = (line for line in done.stdout.splitlines() if line.startswith("baseline fold=0"))
    assert "failed" in line
    assert message(run) in line
    status = run.status()
    assert (status.state, status.epoch) == (RunState.FAILED, 2)
    assert str(status.reason).startswith(message(run))
    assert checkpoint_epoch(run) == 2


@pytest.mark.parametrize("devices", [1, 2])
def test_a_run_directory_that_vanishes_is_not_created_again(
    launch: Callable[..., subprocess.Popen[str]], run: RunDirectory, tmp_path: Path, devices: int
) -> None:
    line = (*RUN[:4], "trainer.epochs=100000", "validation.every=100000", f"trainer.devices={devices}")
    line += (f"trainer.ranks={devices}",)
    elsewhere = tmp_path / "elsewhere"
    process = launch(*line)
    wait_until(lambda: finished_epochs(run) >= 2, process)
    run.path.rename(elsewhere)
    done = finish(process)
    output = done.stdout
    assert done.returncode == 1, output
    assert f"{run.path} vanished while the run was trained (moved, deleted, or its file system unmounted)" in output
    assert "bring it back and run the same command again" in output
    assert "Traceback" not in output
    assert not run.path.exists()

    moved = RunDirectory(elsewhere)
    reached = checkpoint_epoch(moved)
    assert reached >= 2
    status = moved.status()
    assert status.state == RunState.RUNNING  # the process could not write there anymore
    elsewhere.rename(run.path)
    assert "its process was lost" in finish(launch("job=status")).stdout
    again = launch(*line)
    wait_until(lambda: finished_epochs(run) >= reached + 1, again)
    again.terminate()
    done = finish(again)
    assert done.returncode == signals.EXIT_CODE, done.stdout
