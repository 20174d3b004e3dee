from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import pytest
from scaffolding import run_at

from brats_ablate.launch.outcome import Outcome, format_outcomes, job_outcome, run_outcome
from brats_ablate.launch.submission import Submission
from brats_ablate.runs.directory import PEER_LOST, RunDirectory, RunRecord
from brats_ablate.runs.state import RunState


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    directory = run_at(tmp_path / "runs")
    directory.path.mkdir(parents=True)
    return directory


@pytest.fixture
def submission(tmp_path: Path) -> Submission:
    (tmp_path / "job").mkdir()
    return Submission("slurm", "7", str(tmp_path / "job"), 2, "login")


def write_result(submission: Submission, rank: int, result: str | None, log: str = "") -> None:
    """Write what submitit leaves of a rank; no result for one that was killed."""
    folder = Path(submission.folder)
    if result is not None:
        (folder / f"{submission.job}_{rank}_result.pkl").write_bytes(pickle.dumps((result, 0)))
    (folder / f"{submission.job}_{rank}_log.err").write_text(log)


def test_a_finished_run_has_its_progress_and_best_dice(run: RunDirectory, submission: Submission) -> None:
    run.write_status(RunRecord(RunState.FINISHED, 4, 4, 0.9))
    outcome = run_outcome("a", run, submission, "COMPLETED")
    assert (outcome.result, outcome.progress, outcome.best, outcome.is_failure) == (
        RunState.FINISHED,
        "4/4",
        0.9,
        False,
    )


def test_a_run_that_failed_before_its_start_has_no_progress(run: RunDirectory, submission: Submission) -> None:
    write_result(submission, 0, "error", "brats-ablate: trainer.device=auto: no GPU is visible")
    outcome = run_outcome("a", run, submission, "FAILED")
    assert (outcome.result, outcome.progress) == (RunState.FAILED, "")
    assert outcome.reason == "rank 0: trainer.device=auto: no GPU is visible"


def test_the_runs_own_reason_comes_first(run: RunDirectory, submission: Submission) -> None:
    run.write_status(RunRecord(RunState.FAILED, 1, 4, None, "rank 1: the loss is not finite"))
    write_result(submission, 0, "error", "ConnectionError: closed by peer")
    assert run_outcome("a", run, submission, "FAILED").reason == "rank 1: the loss is not finite"


class Hostile:
    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.file,)


def test_a_hostile_result_runs_nothing_and_is_a_failure(submission: Submission, tmp_path: Path) -> None:
    write_result(submission, 0, "success")
    write_result(submission, 1, "success")
    assert job_outcome("a", submission, "COMPLETED").result == RunState.FINISHED
    result = Path(submission.folder) / f"{submission.job}_1_result.pkl"
    result.write_bytes(pickle.dumps(("success", Hostile(tmp_path / "ran"))))
    outcome = job_outcome("a", submission, "COMPLETED")
    assert (outcome.result, outcome.reason) == (RunState.FAILED, f"see {submission.folder}/7_1_log.err")
    assert not (tmp_path / "ran").exists()


def test_the_failure_of_another_rank_is_recorded(run: RunDirectory, submission: Submission) -> None:
    run.write_status(RunRecord(RunState.RUNNING, 1, 4))
    write_result(submission, 0, "success")
    write_result(
        submission, 1, "error", "brats-ablate: case 7 is damaged; prepare again\nTaskFailed: rank 1 ended with 1\n"
    )
    outcome = run_outcome("a", run, submission, "FAILED")
    assert (outcome.result, outcome.reason) == (RunState.FAILED, "rank 1: case 7 is damaged; prepare again")
    status = run.status()
    assert (status.state, status.epoch, status.reason) == (RunState.FAILED, 1, outcome.reason)


@pytest.mark.parametrize(
    ("end", "log", "state", "reason"),
    [
        ("OUT_OF_MEMORY", "", RunState.FAILED, "out of memory"),
        ("NODE_FAIL", "", RunState.FAILED, "node failure"),
        ("CANCELLED", "", RunState.INTERRUPTED, "canceled"),
        ("FAILED", "srun: error: node2: task 3: Killed\n", RunState.FAILED, "rank 3 on node2: Killed"),
        (None, "", RunState.FAILED, "killed"),
    ],
)
def test_a_killed_run_gets_the_cause_from_the_scheduler(
    run: RunDirectory, submission: Submission, end: str | None, log: str, state: RunState, reason: str
) -> None:
    run.write_status(RunRecord(RunState.RUNNING, 2, 4, 0.5))
    write_result(submission, 0, None, log)
    outcome = run_outcome("a", run, submission, end)
    assert outcome.result == state
    assert reason in outcome.reason
    status = run.status()
    assert (status.state, status.best) == (state, 0.5)


@pytest.mark.parametrize(
    ("end", "log", "reason"),
    [
        ("OUT_OF_MEMORY", "", "out of memory; request more, or lower trainer.batch_size"),
        ("NODE_FAIL", "", "node failure"),
        ("FAILED", "srun: error: node2: task 1: Killed\n", "rank 1 on node2: Killed"),
        (None, "", "rank 1: killed (out of memory?)"),
    ],
)
def test_the_cause_of_a_lost_rank_replaces_the_errors_of_the_others(
    run: RunDirectory, submission: Submission, end: str | None, log: str, reason: str
) -> None:
    run.write_status(RunRecord(RunState.FAILED, 2, 4, 0.5, f"rank 0: {PEER_LOST}"))
    write_result(submission, 0, "error", f"brats-ablate: {PEER_LOST}\nTaskFailed: rank 0 ended with exit code 1\n{log}")
    outcome = run_outcome("a", run, submission, end)
    assert outcome.result == RunState.FAILED
    assert outcome.reason.startswith(reason)
    status = run.status()
    assert (status.state, status.epoch, status.best, status.reason) == (RunState.FAILED, 2, 0.5, outcome.reason)


def test_a_run_directory_that_vanished_is_not_created_again(run: RunDirectory, submission: Submission) -> None:
    run.path.rmdir()
    write_result(submission, 0, "error", "brats-ablate: the run vanished; bring it back\n")
    outcome = run_outcome("a", run, replace(submission, ranks=1), "FAILED")
    assert (outcome.result, outcome.reason) == (RunState.FAILED, "the run vanished; bring it back")
    assert not run.path.exists()


def test_a_status_from_before_the_submission_is_ignored(run: RunDirectory, submission: Submission) -> None:
    run.write_status(RunRecord(RunState.FAILED, 1, 4, None, "an old reason"))
    before = run.status()
    write_result(submission, 0, "error", "ImportError: no torch\n")
    outcome = run_outcome("a", run, replace(submission, status_before=before.updated, ranks=1), "FAILED")
    assert outcome.reason == "ImportError: no torch"


def test_a_run_that_another_process_trains_keeps_its_status(run: RunDirectory, submission: Submission) -> None:
    run.write_status(RunRecord(RunState.RUNNING, 2, 4))
    with run.lock():
        run_outcome("a", run, submission, "FAILED")
    status = run.status()
    assert status.state == RunState.RUNNING


def test_another_job_is_finished_when_every_rank_has_a_result(submission: Submission) -> None:
    write_result(submission, 0, "success")
    assert job_outcome("a", submission, None).result == RunState.FAILED
    write_result(submission, 1, "success")
    assert job_outcome("a", submission, None).result == RunState.FINISHED
    write_result(submission, 1, "error", "DataError: a case is missing")
    assert job_outcome("a", submission, None).reason == "DataError: a case is missing"


def test_the_table_ends_with_the_failures_and_a_count() -> None:
    text = format_outcomes(
        [Outcome("bad", RunState.FAILED, "1/4", None, "no reason"), Outcome("good", RunState.FINISHED, "4/4", 0.91234)]
    )
    good, bad, total = text.splitlines()
    assert good.split() == ["good", "finished", "4/4", "0.9123"]
    assert bad.split() == ["bad", "failed", "1/4", "no", "reason"]
    assert total == "2 runs: 1 finished, 1 failed"
