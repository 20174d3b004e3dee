from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from scaffolding import run_at, write_run

from brats_ablate.launch.submission import Submission, write_submission
from brats_ablate.runs.directory import RunDirectory

Job = Callable[..., None]
FinishedRun = Callable[..., RunDirectory]
Output = pytest.CaptureFixture[str]
LOGS = ("7_0_log.out", "7_0_log.err", "7_0_result.pkl", "7_submitted.pkl")


@pytest.fixture
def study(work: Path) -> dict[str, RunDirectory]:
    """Runs whose checkpoints are empty files: their names are enough."""

    def write(seed: int, state: str) -> RunDirectory:
        run = write_run(run_at(work / "phantom" / "runs", seed=seed), state)
        run.best_checkpoint(1, 0.5).touch()
        return run

    return study_of(write, work)


def study_of(write: Callable[[int, str], RunDirectory], work: Path) -> dict[str, RunDirectory]:
    """A finished run and others, each with a resume checkpoint, an incomplete file and logs in one launch folder."""
    runs = {s: write(seed, s) for seed, s in enumerate(("finished", "interrupted", "failed", "running"))}
    runs["finished"].append_cases(1, [{"case": "a", "WT": 0.5, "TC": 0.5, "ET": 0.5}])
    launch = work / "phantom" / "launches" / "2026"
    launch.mkdir(parents=True)
    for i, run in enumerate(runs.values()):
        job = str(7 + i)
        run.last_checkpoint.write_bytes(b"x" * 2048)
        (run.path / "checkpoints" / ".last.pt.1.ab.tmp").write_bytes(b"x")
        write_submission(run.path, Submission("slurm", job, str(launch), 1))
        for name in LOGS:
            (launch / name.replace("7", job, 1)).write_text("log")
    return runs


def files(work: Path) -> set[str]:
    folders = (work / "phantom" / "runs", work / "phantom" / "launches")
    return {str(p.relative_to(work)) for folder in folders for p in folder.rglob("*") if p.is_file()}


def test_a_dry_run_lists_and_deletes_nothing(
    study: dict[str, RunDirectory], job: Job, work: Path, capsys: Output
) -> None:
    before = files(work)
    job("job=clean")
    assert files(work) == before
    out = capsys.readouterr().out
    assert f"1 of 4 runs in {work}/phantom/runs are finished; not needed:" in out
    lines = [" ".join(line.split()) for line in out.splitlines()[1:]]
    assert lines == [
        "resume checkpoints (last.pt) 1 files 2.0 KiB",
        "launch logs 4 files 12 B",
        "incomplete files 1 files 1 B",
        "add job.delete=true to delete them",
    ]


@pytest.mark.slow
def test_only_what_a_finished_run_does_not_need_is_deleted(
    finished_run: FinishedRun, job: Job, work: Path, capsys: Output
) -> None:
    def write(seed: int, state: str) -> RunDirectory:
        return finished_run("+experiment=baseline", f"seed={seed}", dice=(0.5,), state=state)

    study = study_of(write, work)
    before = files(work)
    job("job=clean", "job.delete=true")
    run = study["finished"].path.relative_to(work)
    gone = {f"{run}/checkpoints/last.pt", f"{run}/checkpoints/.last.pt.1.ab.tmp"}
    gone |= {f"phantom/launches/2026/{name}" for name in LOGS}
    assert before - files(work) == gone
    assert files(work) <= before | {f"{run}/lock"}
    assert "add job.delete" not in capsys.readouterr().out
    job("job=clean")
    assert capsys.readouterr().out.count("0 files") == 3
    for other in ("interrupted", "failed", "running"):
        study[other].last_checkpoint.unlink()  # no real ones
    job("job=verify")
    job("job=status")
    assert "1 finished" in capsys.readouterr().out


def test_a_locked_run_is_left_alone(study: dict[str, RunDirectory], job: Job, work: Path, capsys: Output) -> None:
    with study["finished"].lock():
        before = files(work)
        job("job=clean", "job.delete=true")
    assert files(work) == before
    assert "0 of 4 runs" in capsys.readouterr().out


def test_the_only_weights_of_a_run_are_kept(study: dict[str, RunDirectory], job: Job) -> None:
    (best,) = study["finished"].best_checkpoints()
    best.unlink()
    job("job=clean", "job.delete=true")
    assert study["finished"].last_checkpoint.exists()


@pytest.mark.parametrize("other", [{"folder": "/elsewhere"}, {"job": "notes"}, {"job": "7_"}, {"job": ""}])
def test_a_record_of_a_launch_can_name_no_other_files(
    study: dict[str, RunDirectory], job: Job, work: Path, tmp_path: Path, other: dict[str, str]
) -> None:
    launch = work / "phantom" / "launches" / "2026"
    changed = {key: value.replace("/elsewhere", str(tmp_path)) for key, value in other.items()}
    submission = replace(Submission("slurm", "7", str(launch), 1), **changed)  # type: ignore[arg-type]
    write_submission(study["finished"].path, submission)
    others = [
        folder / name for folder in (tmp_path, launch) for name in ("7_0_log.out", "notes_0_log.out", "7_thesis.txt")
    ]
    for file in others:
        file.write_text("mine")
    job("job=clean", "job.delete=true")
    assert all(file.exists() for file in others)


def test_a_file_that_cannot_be_deleted_is_reported(
    study: dict[str, RunDirectory], job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    from brats_ablate.errors import UserError

    unlink = Path.unlink

    def refuse(path: Path, missing_ok: bool = False) -> None:
        if path.name == "last.pt":
            raise PermissionError(13, "Permission denied", str(path))
        unlink(path, missing_ok=missing_ok)

    monkeypatch.setattr(Path, "unlink", refuse)
    with pytest.raises(UserError, match=r"1 files could not be deleted, the first: .*last\.pt"):
        job("job=clean", "job.delete=true")
