from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from brats_ablate.launch import worker as tasks
from brats_ablate.launch.submission import Submission, read_submission, write_submission
from brats_ablate.launch.worker import RunTask, TaskFailed
from brats_ablate.runs.directory import FAILED, INTERRUPTED, RunDirectory, RunRecord


class Slurm(SimpleNamespace):
    """A rank's place in a SLURM job."""

    def name(self) -> str:
        return "slurm"


@pytest.fixture
def requeues(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The jobs that were requeued."""
    found: list[str] = []
    monkeypatch.setattr(tasks, "_requeue", found.append)
    monkeypatch.setattr(tasks, "_slurm_job_is_running", lambda job: True)
    monkeypatch.setattr(tasks.threading.Event, "wait", lambda self, timeout: True)
    return found


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    directory = RunDirectory(tmp_path / "baseline/fold=0/lr=0.0007/seed=0")
    directory.write_status(RunRecord(INTERRUPTED, 2, 4))
    write_submission(directory.path, Submission("slurm", "7", str(tmp_path), 2, ""))
    return directory


def interrupt(run: RunDirectory, rank: int = 0) -> None:
    folder: Any = run.path.parents[3]
    environment = Slurm(global_rank=rank, job_id="7", num_tasks=2, paths=SimpleNamespace(folder=folder))
    RunTask("", str(run.path))._after_interruption(environment)


def test_the_first_rank_requeues_and_no_rank_leaves_a_result(run: RunDirectory, requeues: list[str]) -> None:
    with pytest.raises(SystemExit) as other:
        interrupt(run, rank=1)
    assert other.value.code == 0
    assert requeues == []
    with pytest.raises(SystemExit):
        interrupt(run)
    assert requeues == ["7"]
    ticket = read_submission(run.path)
    assert ticket is not None
    assert (ticket.requeues, ticket.epoch) == (1, 2)


def test_a_job_that_is_being_cancelled_is_not_requeued(
    run: RunDirectory, requeues: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tasks, "_slurm_job_is_running", lambda job: False)
    with pytest.raises(SystemExit):
        interrupt(run)
    assert requeues == []


def test_a_run_that_never_finishes_an_epoch_is_given_up(run: RunDirectory, requeues: list[str]) -> None:
    for _ in range(5):
        with pytest.raises(SystemExit):
            interrupt(run)
    with pytest.raises(TaskFailed):
        interrupt(run)
    assert len(requeues) == 5
    status = run.status()
    assert status is not None
    assert status.state == FAILED
    assert "without finishing an epoch" in (status.reason or "")


def test_an_interruption_caused_by_another_ranks_failure_is_a_failure(run: RunDirectory, requeues: list[str]) -> None:
    import pickle

    folder = run.path.parents[3]
    (folder / "7_1_result.pkl").write_bytes(pickle.dumps(("error", "")))
    (folder / "7_1_log.err").write_text("brats-ablate: the disk is full; free some space\n")
    with pytest.raises(TaskFailed):
        interrupt(run)
    assert requeues == []
    status = run.status()
    assert status is not None
    assert status.reason == "rank 1: the disk is full; free some space"
