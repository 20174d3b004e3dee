"""kill −9 in the middle of an epoch: the same command continues, and ends with the weights of an undisturbed run."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from brats_ablate.runs.directory import RunDirectory

Launch = Callable[..., subprocess.Popen[str]]
# An epoch of 100 steps; a checkpoint after almost every step, so that a kill also meets half-written ones.
LINE = ("lr=7e-4", "trainer.epochs=3", "trainer.crops_per_case=25", "trainer.checkpoint_minutes=0.002")
EXPERIMENTS = {"ds_onehot": (), "dropblock": ("model.drop.ramp_steps=300",)}  # dropping more from step to step


def finish(process: subprocess.Popen[str]) -> None:
    output, _ = process.communicate(timeout=900)
    assert process.returncode == 0, output


def kill_in_epoch(launch: Launch, line: tuple[str, ...], run: RunDirectory, epoch: int) -> int:
    """Start, kill −9 inside the epoch (0-based), and return at which of its steps the last checkpoint stands."""
    import torch

    before = run.last_checkpoint.stat().st_mtime_ns if run.last_checkpoint.exists() else 0
    process = launch(*line)
    deadline = time.monotonic() + 600
    while True:
        assert process.poll() is None, process.stdout and process.stdout.read()
        assert time.monotonic() < deadline
        changed = run.last_checkpoint.exists() and run.last_checkpoint.stat().st_mtime_ns != before
        if changed:
            position = torch.load(run.last_checkpoint, weights_only=True)["position"]
            if position["epoch"] == epoch and position["step_in_epoch"] >= 5:
                break
        time.sleep(0.02)
    process.kill()
    process.communicate()
    position = torch.load(run.last_checkpoint, weights_only=True)["position"]
    assert position["epoch"] == epoch
    return int(position["step_in_epoch"])


def without_times(row: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in row.items() if not k.startswith(("seconds", "patches_per_second", "peak_memory"))}


@pytest.mark.slow
@pytest.mark.parametrize("experiment", sorted(EXPERIMENTS))
def test_killed_in_two_epochs_equals_undisturbed(launch: Launch, work: Path, experiment: str) -> None:
    import torch

    line = (f"+experiment={experiment}", *LINE, *EXPERIMENTS[experiment])
    undisturbed, killed = (
        RunDirectory(work / folder / experiment / "fold=0" / "lr=0.0007" / "seed=0") for folder in ("one", "other")
    )
    finish(launch(*line, f"paths.runs={work / 'one'}"))
    other = (*line, f"paths.runs={work / 'other'}")
    assert kill_in_epoch(launch, other, killed, epoch=0) < 100
    assert kill_in_epoch(launch, other, killed, epoch=1) < 100
    finish(launch(*other))

    expected, found = (torch.load(run.last_checkpoint, weights_only=True) for run in (undisturbed, killed))
    for name, tensor in expected["model"].items():
        assert torch.equal(found["model"][name], tensor), name
    assert [without_times(row) for row in killed.metrics()] == [without_times(row) for row in undisturbed.metrics()]
    assert killed.cases() == undisturbed.cases()
    assert [p.name for p in killed.best_checkpoints()] == [p.name for p in undisturbed.best_checkpoints()]
