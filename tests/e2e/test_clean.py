"""After job=clean every job that reads a finished study gives what it gave before, and its sweep trains nothing."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

Command = Callable[..., subprocess.CompletedProcess[str]]
STUDY = ("+experiment=baseline", "lr=7e-4", "trainer.epochs=2")
JOBS = (
    ("job=verify",),
    ("job=predict", "inference=sliding_window_without_tta"),
    ("job=evaluate", "job.name=baseline", "job.workers=1"),
    ("job=tables", "job.tables=[trained]"),
)


@pytest.mark.slow(minutes=8)
def test_a_cleaned_study_is_whole(brats_ablate: Command, work: Path) -> None:
    def run(*arguments: str) -> str:
        done = brats_ablate(*arguments)
        assert done.returncode == 0, done.stdout
        return done.stdout

    folder = work / "phantom"
    sweep = (*STUDY, "fold=0,1,2", "-m")
    run(*sweep)
    for job in JOBS:
        run(*STUDY, *job)
    before = {path: path.read_bytes() for path in (folder / "tables").glob("trained*.md")}
    before |= {path: path.read_bytes() for path in (folder / "predictions").rglob("*.nii.gz")}
    best = sorted((folder / "runs").rglob("best_*.pt"))
    assert before
    assert len(list((folder / "runs").rglob("last.pt"))) == 3
    assert "3 of 3 runs" in run("job=clean", "job.delete=true")
    assert not list((folder / "runs").rglob("last.pt"))
    assert sorted((folder / "runs").rglob("best_*.pt")) == best

    assert run(*sweep).count("already finished, skipping") == 3
    assert "3 finished" in run("job=status")
    for name in ("predictions", "tables", "evaluation"):
        (folder / name).rename(folder / f"{name}_before")
    for job in JOBS:
        run(*STUDY, *job)
    assert {path: path.read_bytes() for path in before} == before
