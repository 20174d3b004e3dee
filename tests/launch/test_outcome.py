from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import pytest

from brats_ablate.launch.outcome import Outcome, of_ended_job, of_ended_run, table
from brats_ablate.launch.submission import Submission
from brats_ablate.runs.directory import FAILED, FINISHED, INTERRUPTED, PEER_LOST, RUNNING, RunDirectory, RunRecord


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    directory = RunDirectory(tmp_path / "runs/baseline/fold=0/lr=0.0007/seed=0")
    directory.path.mkdir(parents=True)
    return directory


@pytest.fixture
def ticket(tmp_path: Path) -> Submission:
    (tmp_path / "job").mkdir()
    return Submission("slurm", "7", str(tmp_path / "job"), 2, "login")


def leave(ticket: Submission, rank: int, result: str | None, log: str = "") -> None:
    """What submitit leaves of a rank."""
    folder = Path(ticket.folder)
    if result is not None:
        (folder / f"{ticket.job}_{rank}_result.pkl").write_bytes(pickle.dumps((result, 0)))
    (folder / f"{ticket.job}_{rank}_log.err").write_text(log)


def test_a_finished_run_is_told_with_its_best(run: RunDirectory, ticket: Submission) -> None:
    run.write_status(RunRecord(FINISHED, 4, 4, 0.9))
    found = of_ended_run("a", run, ticket, "COMPLETED")
    assert (found.what, found.epoch, found.best, found.is_failure) == (FINISHED, "4/4", 0.9, False)


def test_the_runs_own_reason_is_the_truth(run: RunDirectory, ticket: Submission) -> None:
    run.write_status(RunRecord(FAILED, 1, 4, None, "rank 1: the loss is not finite"))
    leave(ticket, 0, "error", "ConnectionError: closed by peer")
    assert of_ended_run("a", run, ticket, "FAILED").reason == "rank 1: the loss is not finite"


def test_a_failure_on_another_rank_is_found_and_written_down(run: RunDirectory, ticket: Submission) -> None:
    run.write_status(RunRecord(RUNNING, 1, 4))
    leave(ticket, 0, "success")
    leave(ticket, 1, "error", "brats-ablate: case 7 is damaged; prepare again\nTaskFailed: rank 1 ended with 1\n")
    found = of_ended_run("a", run, ticket, "FAILED")
    assert (found.what, found.reason) == (FAILED, "rank 1: case 7 is damaged; prepare again")
    status = run.status()
    assert status is not None
    assert (status.state, status.epoch, status.reason) == (FAILED, 1, found.reason)


@pytest.mark.parametrize(
    ("end", "log", "what", "reason"),
    [
        ("OUT_OF_MEMORY", "", FAILED, "killed for memory"),
        ("NODE_FAIL", "", FAILED, "its node failed"),
        ("CANCELLED", "", INTERRUPTED, "cancelled"),
        ("FAILED", "srun: error: node2: task 3: Killed\n", FAILED, "rank 3 on node2: Killed"),
        (None, "", FAILED, "killed without a word"),
    ],
)
def test_a_run_that_could_not_say_why_gets_the_schedulers_word(
    run: RunDirectory, ticket: Submission, end: str | None, log: str, what: str, reason: str
) -> None:
    run.write_status(RunRecord(RUNNING, 2, 4, 0.5))
    leave(ticket, 0, None, log)
    found = of_ended_run("a", run, ticket, end)
    assert found.what == what
    assert reason in found.reason
    status = run.status()
    assert status is not None
    assert (status.state, status.best) == (what, 0.5)


@pytest.mark.parametrize(
    ("end", "log", "reason"),
    [
        ("OUT_OF_MEMORY", "", "killed for memory; ask for more, or lower trainer.batch_size"),
        ("NODE_FAIL", "", "its node failed"),
        ("FAILED", "srun: error: node2: task 1: Killed\n", "rank 1 on node2: Killed"),
        (None, "", "rank 1: killed without a word (for memory?)"),
    ],
)
def test_what_killed_a_rank_counts_and_not_what_the_others_noticed(
    run: RunDirectory, ticket: Submission, end: str | None, log: str, reason: str
) -> None:
    run.write_status(RunRecord(FAILED, 2, 4, 0.5, f"rank 0: {PEER_LOST}"))
    leave(ticket, 0, "error", f"brats-ablate: {PEER_LOST}\nTaskFailed: rank 0 ended with exit code 1\n{log}")
    found = of_ended_run("a", run, ticket, end)
    assert found.what == FAILED
    assert found.reason.startswith(reason)
    status = run.status()
    assert status is not None
    assert (status.state, status.epoch, status.best, status.reason) == (FAILED, 2, 0.5, found.reason)


def test_a_run_whose_directory_vanished_is_told_and_not_begun_again(run: RunDirectory, ticket: Submission) -> None:
    run.path.rmdir()
    leave(ticket, 0, "error", "brats-ablate: the run vanished; bring it back\n")
    found = of_ended_run("a", run, replace(ticket, ranks=1), "FAILED")
    assert (found.what, found.reason) == (FAILED, "the run vanished; bring it back")
    assert not run.path.exists()


def test_a_status_of_an_earlier_submission_says_nothing(run: RunDirectory, ticket: Submission) -> None:
    run.write_status(RunRecord(FAILED, 1, 4, None, "an old reason"))
    before = run.status()
    assert before is not None
    leave(ticket, 0, "error", "ImportError: no torch\n")
    found = of_ended_run("a", run, replace(ticket, status_before=before.updated, ranks=1), "FAILED")
    assert found.reason == "ImportError: no torch"


def test_a_run_that_another_process_trains_keeps_its_status(run: RunDirectory, ticket: Submission) -> None:
    run.write_status(RunRecord(RUNNING, 2, 4))
    with run.lock():
        of_ended_run("a", run, ticket, "FAILED")
    status = run.status()
    assert status is not None
    assert status.state == RUNNING


def test_another_job_has_finished_when_every_rank_has_a_result(ticket: Submission) -> None:
    leave(ticket, 0, "success")
    assert of_ended_job("a", ticket, None).what == FAILED
    leave(ticket, 1, "success")
    assert of_ended_job("a", ticket, None).what == FINISHED
    leave(ticket, 1, "error", "DataError: a case is missing")
    assert of_ended_job("a", ticket, None).reason == "DataError: a case is missing"


def test_the_table_ends_with_the_failures_and_a_count() -> None:
    text = table([Outcome("bad", FAILED, "1/4", None, "no reason"), Outcome("good", FINISHED, "4/4", 0.91234)])
    good, bad, total = text.splitlines()
    assert good.split() == ["good", "finished", "4/4", "0.9123"]
    assert bad.split() == ["bad", "failed", "1/4", "no", "reason"]
    assert total == "2 runs: 1 finished, 1 failed"
