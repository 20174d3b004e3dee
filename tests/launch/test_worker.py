from __future__ import annotations

import pickle
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cloudpickle
import pytest
from scaffolding import run_at, write_run

from brats_ablate.errors import UserError
from brats_ablate.jobs.execute import execute
from brats_ablate.launch.submission import Submission, read_submission, write_submission
from brats_ablate.launch.worker import RunTask, TaskFailed, requeue_interrupted
from brats_ablate.runs.directory import RunDirectory
from brats_ablate.runs.state import RunState

FakeCommand = Callable[[str, str], None]


class SlurmEnvironment(SimpleNamespace):
    """What submitit reports about a rank of a SLURM job."""

    def name(self) -> str:
        return "slurm"


@pytest.fixture
def requeued(tmp_path: Path, fake_command: FakeCommand) -> Iterator[Path]:
    """A file with the jobs that were requeued, each at the cost of SLURM's SIGTERM to the process."""
    file = tmp_path / "requeued"
    file.touch()
    fake_command("squeue", "echo RUNNING")
    fake_command("scontrol", f'echo "$2" >> {file}; kill -TERM $PPID')
    handler = signal.getsignal(signal.SIGTERM)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # one that comes early
    yield file
    signal.signal(signal.SIGTERM, handler)


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    directory = write_run(run_at(tmp_path), RunState.INTERRUPTED, dice=(0.5, 0.5), epochs=4)
    write_submission(directory.path, Submission("slurm", "7", str(tmp_path), 2, ""))
    return directory


def interrupt(run: RunDirectory, rank: int = 0) -> None:
    folder: Any = run.path.parents[3]
    environment = SlurmEnvironment(global_rank=rank, job_id="7", num_tasks=2, paths=SimpleNamespace(folder=folder))
    requeue_interrupted(environment, run)


def test_the_first_rank_requeues_and_no_rank_leaves_a_result(run: RunDirectory, requeued: Path) -> None:
    with pytest.raises(SystemExit) as leaving:
        interrupt(run, rank=1)
    assert leaving.value.code == 0
    assert requeued.read_text() == ""
    with pytest.raises(SystemExit):
        interrupt(run)
    assert requeued.read_text() == "7\n"
    submission = read_submission(run.path)
    assert (submission.requeues, submission.epoch) == (1, 2)


def test_a_job_that_is_being_canceled_is_not_requeued(
    run: RunDirectory, requeued: Path, fake_command: FakeCommand
) -> None:
    fake_command("squeue", "echo COMPLETING")
    with pytest.raises(SystemExit):
        interrupt(run)
    assert requeued.read_text() == ""


def test_a_requeue_that_a_busy_controller_refuses_is_tried_again(
    run: RunDirectory, requeued: Path, fake_command: FakeCommand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("brats_ablate.launch.submission.PATIENCE_S", 0.5)
    monkeypatch.setattr("brats_ablate.launch.worker.SECONDS_BETWEEN_TRIES", 0)
    fake_command("squeue", "exec /bin/sleep 60")  # whether the job is being canceled is not known then
    busy = f"if [ ! -e {requeued}.busy ]; then : > {requeued}.busy; exec /bin/sleep 60; fi"
    fake_command("scontrol", f'{busy}; echo "$2" >> {requeued}; kill -TERM $PPID')
    with pytest.raises(SystemExit):
        interrupt(run)
    assert requeued.read_text() == "7\n"
    fake_command("scontrol", "echo 'Socket timed out' >&2; exit 1")
    with pytest.raises(UserError, match=r"^scontrol requeue 7 failed \(Socket timed out\); run the same command again"):
        interrupt(run)


def test_a_run_that_never_finishes_an_epoch_fails(run: RunDirectory, requeued: Path) -> None:
    for _ in range(5):
        with pytest.raises(SystemExit):
            interrupt(run)
    with pytest.raises(TaskFailed):
        interrupt(run)
    assert requeued.read_text() == "7\n" * 5
    status = run.status()
    assert status.state == RunState.FAILED
    assert "without finishing an epoch" in (status.reason or "")


def test_an_interruption_that_follows_from_another_ranks_failure_is_a_failure(
    run: RunDirectory, requeued: Path
) -> None:
    folder = run.path.parents[3]
    (folder / "7_1_result.pkl").write_bytes(pickle.dumps(("error", "")))
    (folder / "7_1_log.err").write_text("brats-ablate: the disk is full; free some space\n")
    with pytest.raises(TaskFailed):
        interrupt(run)
    assert requeued.read_text() == ""
    status = run.status()
    assert status.reason == "rank 1: the disk is full; free some space"


def test_a_pickled_task_names_the_job_runner_instead_of_containing_it() -> None:
    task = RunTask(execute, "fold: 0", "runs/x")
    content = cloudpickle.dumps(task)
    assert b"brats_ablate.jobs.execute" in content
    assert cloudpickle.loads(content) == task
