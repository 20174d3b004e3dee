"""The commands at the end of a tracked sweep; W&B's program finds the runs that its command names."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from scaffolding import run_at

from brats_ablate.jobs.sweep.tracked import commands
from brats_ablate.runs.directory import RunDirectory


def offline_start(run: RunDirectory, second: int, folder: str = "offline-run") -> Path:
    """Write what W&B leaves of a start."""
    start = run.path / "wandb" / f"{folder}-20250101_00000{second}-abc"
    start.mkdir(parents=True)
    file = start / "run-abc.wandb"
    file.write_bytes(b"")
    link = run.path / "wandb" / "latest-run"
    link.unlink(missing_ok=True)
    link.symlink_to(start.name)
    return file


@pytest.mark.slow
@pytest.mark.parametrize("folder", ["runs", "it's $mine & new"])
def test_one_command_uploads_the_last_start_of_every_run(folder: str, tmp_path: Path) -> None:
    runs = [run_at(tmp_path / folder, name, fold) for name in ("ds", "baseline") for fold in (0, 1)]
    last = set()
    for run in runs:
        offline_start(run, 0)
        last.add(offline_start(run, 1).relative_to(tmp_path))
    (line,) = commands(runs)
    said, _, command = line.partition("wandb sync ")
    assert said == "W&B, offline; upload all runs with: "
    program = Path(sys.executable).with_name("wandb")
    done = subprocess.run(
        f"{program} sync --dry-run {command}", shell=True, cwd=tmp_path, capture_output=True, text=True
    )
    shown = [text.removeprefix("wandb:").strip() for text in done.stderr.splitlines()]
    assert shown[0] == "Would sync 4 run(s):"
    assert {(tmp_path / text).resolve().relative_to(tmp_path.resolve()) for text in shown[1:]} == last


def test_runs_that_are_uploaded_or_not_tracked_have_no_command(tmp_path: Path) -> None:
    uploaded, online, untracked = (run_at(tmp_path, name) for name in ("a", "b", "c"))
    offline_start(uploaded, 0).with_suffix(".wandb.synced").touch()
    offline_start(online, 0, "run")
    assert commands([uploaded, online, untracked]) == []


def test_tensorboard_shows_all_runs(tmp_path: Path) -> None:
    runs = [run_at(tmp_path / "my runs", name) for name in ("a", "b")]
    (runs[1].path / "tensorboard").mkdir(parents=True)
    assert commands(runs) == [f"TensorBoard: tensorboard --logdir '{tmp_path}/my runs'"]
