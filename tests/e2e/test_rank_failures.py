"""A rank fails or is killed: the run's status names the rank and the cause, not the closed connections."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from scaffolding import CommandLine

from brats_ablate.launch.submission import read_submission
from brats_ablate.runs.directory import PEER_LOST, RunDirectory
from brats_ablate.runs.state import RunState

pytestmark = pytest.mark.slow(minutes=6)
Command = Callable[..., subprocess.CompletedProcess[str]]
RUN = (
    *("+experiment=baseline", "fold=0", "lr=0.001", "trainer.epochs=4", "trainer.checkpoint_minutes=0.0001"),
    "job._target_=faulty.train.run",
)
TWO_RANKS = ("trainer.ranks=2", "trainer.devices=2")
FAULTY = """
import os, signal
from brats_ablate.errors import DataError
from brats_ablate.jobs import train
from brats_ablate.training.trainer import Trainer
step = Trainer.training_step
rank, _, fault = os.environ.get("FAULT", "-1").partition(" ")
def faulty(self, patches):
    if self.ranks.rank == int(rank) and self.step == 5:  # in the third epoch
        if fault == "is killed":
            os.kill(os.getpid(), signal.SIGKILL)
        if fault == "has a case that cannot be read":
            raise DataError("case phantom_0001 cannot be read; prepare it again")
        if fault == "has a bug":
            raise KeyError("no such thing")
        if fault == "has no memory":
            raise MemoryError
        if fault == "meets nan":
            pipeline = self.pipeline
            def spoiled(patches):
                images, labels = pipeline(patches)
                return images * float("nan"), labels
            self.pipeline = spoiled
            os.write(2, f"CASES {', '.join(patch.case_id for patch in patches)}\\n".encode())
    step(self, patches)
def run(cfg):
    Trainer.training_step = faulty
    train.run(cfg)
"""
REASONS = {
    "has a case that cannot be read": "case phantom_0001 cannot be read; prepare it again",
    "has a bug": "KeyError: 'no such thing'",
    "has no memory": "out of memory; lower trainer.batch_size",
}


@pytest.fixture(autouse=True)
def stand_in(importable: Callable[[str, str], None]) -> None:
    importable("faulty.train", FAULTY)


def assert_failed(run: RunDirectory, reason: str) -> None:
    """The run failed for this reason after two complete epochs, whose checkpoint is intact."""
    status = run.status()
    assert (status.state, status.epoch) == (RunState.FAILED, 2)
    assert str(status.reason).startswith(reason), status.reason
    assert torch.load(run.last_checkpoint, weights_only=True)["position"]["epoch"] == 2


def torchrun(work: Path, small: tuple[str, ...], fault: str) -> subprocess.CompletedProcess[str]:
    program = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "brats_ablate")
    environment = {"BRATS_ABLATE_WORK": str(work), "FAULT": fault}
    return CommandLine(work, (*small, *RUN, "trainer.ranks=2"), environment, program, stderr=subprocess.PIPE).run()


@pytest.mark.parametrize(("rank", "fault"), [(1, "has a case that cannot be read"), (0, "has a bug")])
def test_the_reason_of_the_failed_rank_is_recorded(
    brats_ablate: Command, run: RunDirectory, rank: int, fault: str
) -> None:
    done = brats_ablate(*RUN, *TWO_RANKS, FAULT=f"{rank} {fault}")
    assert done.returncode == 1, done.stdout
    assert_failed(run, f"rank {rank}: {REASONS[fault]}")
    assert f"brats-ablate: rank {rank}: {REASONS[fault]}" in done.stdout


def test_the_reason_is_recorded_under_torchrun(work: Path, run: RunDirectory, small: tuple[str, ...]) -> None:
    done = torchrun(work, small, "1 has no memory")
    assert done.returncode == 1, done.stdout
    assert_failed(run, f"rank 1: {REASONS['has no memory']}")


def test_a_loss_that_is_not_finite_names_rank_step_and_cases(brats_ablate: Command, run: RunDirectory) -> None:
    done = brats_ablate(*RUN, *TWO_RANKS, FAULT="1 meets nan")
    assert done.returncode == 1, done.stdout
    (cases,) = (line.removeprefix("CASES ") for line in done.stdout.splitlines() if line.startswith("CASES "))
    assert_failed(
        run,
        f"rank 1: the loss is nan at step 5 on {cases}; run the same command again to continue from its last checkpoint",
    )
    assert "Traceback" not in done.stdout


@pytest.mark.parametrize("rank", [0, 1])
def test_a_killed_rank_is_named_and_the_same_command_resumes(
    brats_ablate: Command, run: RunDirectory, rank: int
) -> None:
    done = brats_ablate(*RUN, *TWO_RANKS, FAULT=f"{rank} is killed")
    assert done.returncode == 1, done.stdout
    cause = f"rank {rank} was killed by SIGKILL; unless someone killed it, the machine ran out of memory"
    assert_failed(run, cause)
    assert f"brats-ablate: {cause}" in done.stdout
    assert "Traceback" not in done.stdout
    shown = brats_ablate("job=status")
    assert f"failed at epoch 2/4: {cause}" in shown.stdout
    done = brats_ablate(*RUN, *TWO_RANKS)
    assert done.returncode == 0, done.stdout
    status = run.status()
    assert (status.state, status.reason) == (RunState.FINISHED, None)


def test_a_run_that_is_trained_already_is_refused_without_a_traceback(brats_ablate: Command, run: RunDirectory) -> None:
    with run.lock():
        done = brats_ablate(*RUN, *TWO_RANKS)
    assert done.returncode == 1, done.stdout
    assert f"brats-ablate: {run.path} is being trained by process" in done.stdout
    assert "Traceback" not in done.stdout
    assert run.status() is None


def test_under_torchrun_the_cause_of_a_killed_rank_is_unknown(
    work: Path, run: RunDirectory, small: tuple[str, ...]
) -> None:
    done = torchrun(work, small, "1 is killed")
    assert done.returncode == 1, done.stdout
    assert_failed(run, f"rank 0: {PEER_LOST}")
    assert f"brats-ablate: {PEER_LOST}" in done.stderr


def test_a_sweeps_table_names_the_rank_that_was_killed(brats_ablate: Command, run: RunDirectory) -> None:
    launcher = ("hydra/launcher=submitit_local", "hydra.launcher.ranks_per_run=2", "hydra.launcher.poll_seconds=0.2")
    done = brats_ablate("-m", *RUN, "trainer.ranks=2", *launcher, FAULT="1 is killed")
    assert done.returncode == 1, done.stdout
    assert read_submission(run.path) is not None
    (line,) = (line for line in done.stdout.splitlines() if line.startswith("baseline fold=0"))
    assert "rank 1: killed (out of memory?)" in line
    assert_failed(run, "rank 1: killed (out of memory?)")
