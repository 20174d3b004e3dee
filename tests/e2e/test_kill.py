"""kill −9 in the middle of an epoch: the same command resumes and ends with the weights of an undisturbed run."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from scaffolding import assert_same_training, finish, run_at, wait_until

from brats_ablate.runs.directory import RunDirectory

Launch = Callable[..., subprocess.Popen[str]]
# An epoch of 60 steps; a checkpoint after almost every step, so that a kill also interrupts writing one.
LINE = ("lr=7e-4", "trainer.epochs=3", "trainer.crops_per_case=15", "trainer.checkpoint_minutes=0.002")
EXPERIMENTS = {"ds_onehot": (), "dropblock": ("model.drop.ramp_steps=180",)}  # dropping more from step to step


def kill_in_epoch(launch: Launch, line: tuple[str, ...], run: RunDirectory, epoch: int) -> int:
    """Start, kill −9 inside the epoch (0-based), and return the step of the epoch in the last checkpoint."""
    import torch

    before = run.last_checkpoint.stat().st_mtime_ns if run.last_checkpoint.exists() else 0

    def position() -> dict[str, int]:
        content: dict[str, int] = torch.load(run.last_checkpoint, weights_only=True)["position"]
        return content

    def is_inside_epoch() -> bool:
        if not run.last_checkpoint.exists() or run.last_checkpoint.stat().st_mtime_ns == before:
            return False
        return position()["epoch"] == epoch and position()["step_in_epoch"] >= 5

    process = launch(*line)
    wait_until(is_inside_epoch, process, timeout_s=600)
    process.kill()
    process.communicate()
    assert position()["epoch"] == epoch
    return position()["step_in_epoch"]


def run_to_end(launch: Launch, *line: str) -> None:
    done = finish(launch(*line))
    assert done.returncode == 0, done.stdout


@pytest.mark.slow(minutes=4)
@pytest.mark.parametrize("experiment", sorted(EXPERIMENTS))
def test_killed_in_two_epochs_equals_undisturbed(launch: Launch, work: Path, experiment: str) -> None:
    line = (f"+experiment={experiment}", *LINE, *EXPERIMENTS[experiment])
    undisturbed, killed = (run_at(work / folder, experiment) for folder in ("one", "other"))
    run_to_end(launch, *line, f"paths.runs={work / 'one'}")
    other = (*line, f"paths.runs={work / 'other'}")
    assert kill_in_epoch(launch, other, killed, epoch=0) < 60
    assert kill_in_epoch(launch, other, killed, epoch=1) < 60
    run_to_end(launch, *other)

    assert_same_training(undisturbed, killed)
    assert [p.name for p in killed.best_checkpoints()] == [p.name for p in undisturbed.best_checkpoints()]
