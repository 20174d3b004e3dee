"""The file system goes away under a run: a named cause, exit code 1, the last checkpoint whole, and a way to go on."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from brats_ablate.runs.directory import FAILED, RUNNING, RunDirectory
from brats_ablate.runtime import signals

pytestmark = pytest.mark.slow
Command = Callable[..., subprocess.CompletedProcess[str]]
RUN = ("+experiment=baseline", "fold=0", "lr=0.001", "trainer.epochs=4")
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
        if self.at.epoch == 3:
            os.replace = stale
        save(self)
    Trainer._save = lose_at_the_third
    train.run(cfg)
"""


@pytest.fixture(autouse=True)
def stand_in(importable: Callable[[str, str], None]) -> None:
    importable("lost.train", STALE)


def finished_epochs(run: RunDirectory) -> int:
    """Of the last checkpoint, which must be whole."""
    return int(torch.load(run.last_checkpoint, weights_only=True)["position"]["epoch"])


def wait_for_epoch(run: RunDirectory, epoch: int, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 300
    while (status := run.status()) is None or status.epoch < epoch:
        assert process.poll() is None, process.stdout and process.stdout.read()
        assert time.monotonic() < deadline
        time.sleep(0.05)


def told(run: RunDirectory) -> str:
    return f"Stale file handle: {run.last_checkpoint}; the file system is lost or failing; bring it back and run"


def test_checkpoints_that_cannot_be_written_any_more(brats_ablate: Command, run: RunDirectory) -> None:
    done = brats_ablate(*RUN, "job._target_=lost.train.run", STALE="last.pt")
    assert done.returncode == 1, done.stdout
    assert f"brats-ablate: {told(run)} the same command again" in done.stdout
    assert "Traceback" not in done.stdout
    status = run.status()
    assert status is not None
    assert (status.state, status.epoch) == (FAILED, 2)
    assert str(status.reason).startswith(told(run))
    assert finished_epochs(run) == 2
    assert told(run) in brats_ablate("job=status").stdout
    done = brats_ablate(*RUN, "job._target_=lost.train.run")
    assert done.returncode == 0, done.stdout


def test_a_run_that_cannot_even_write_its_status_is_told_by_the_sweep(brats_ablate: Command, run: RunDirectory) -> None:
    launcher = ("-m", "hydra/launcher=submitit_local", "hydra.launcher.poll_seconds=0.2")
    done = brats_ablate(*RUN, "job._target_=lost.train.run", *launcher, STALE="seed=0")
    assert done.returncode == 1, done.stdout
    (line,) = (line for line in done.stdout.splitlines() if line.startswith("baseline fold=0"))
    assert "failed" in line
    assert told(run) in line
    status = run.status()
    assert status is not None
    assert (status.state, status.epoch) == (FAILED, 2)
    assert str(status.reason).startswith(told(run))
    assert finished_epochs(run) == 2


@pytest.mark.parametrize("devices", [1, 2])
def test_a_run_directory_that_vanishes_is_not_begun_again(
    launch: Callable[..., subprocess.Popen[str]], run: RunDirectory, tmp_path: Path, devices: int
) -> None:
    line = (*RUN[:3], "trainer.epochs=100000", "trainer.validate_every=100000", f"trainer.devices={devices}")
    elsewhere = tmp_path / "elsewhere"
    process = launch(*line)
    wait_for_epoch(run, 2, process)
    run.path.rename(elsewhere)
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 1, output
    assert f"{run.path} vanished while the run was trained (moved, deleted, or its file system unmounted)" in output
    assert "bring it back and run the same command again" in output
    assert "Traceback" not in output
    assert not run.path.exists()

    moved = RunDirectory(elsewhere)
    reached = finished_epochs(moved)
    assert reached >= 2
    status = moved.status()
    assert status is not None
    assert status.state == RUNNING  # nobody could write there any more
    elsewhere.rename(run.path)
    dead = launch("job=status")
    assert "its process is gone" in dead.communicate(timeout=300)[0]
    again = launch(*line)
    wait_for_epoch(run, reached + 1, again)
    again.terminate()
    output, _ = again.communicate(timeout=300)
    assert again.returncode == signals.EXIT_CODE, output
