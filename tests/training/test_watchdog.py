from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from brats_ablate.runs.directory import RunDirectory, RunRecord
from brats_ablate.runs.state import RunState
from brats_ablate.runtime.activity import Activity, Mark, reading
from brats_ablate.training import watchdog
from brats_ablate.training.distributed import DistributedContext
from brats_ablate.training.watchdog import hang_reason, watch_for_hang

WAITING = Mark(7, 50.0, "reading the losses up to step 7", waits_for_ranks=True)


@pytest.mark.parametrize(
    ("marks", "start"),
    [
        ([Mark(7, 90.0, "forward")], "the run made no progress for 30 minutes (last: forward); check its file system"),
        # The one that has not finished the step, although the other made its last progress before.
        (
            [Mark(8, 10.0, "backward"), Mark(7, 20.0, "forward")],
            "rank 1 made no progress for 30 minutes (last: forward)",
        ),
        # Of the same step: the one that stopped first, as the other waits for it in its backward.
        (
            [Mark(7, 20.0, "backward"), Mark(7, 10.0, "forward")],
            "rank 1 made no progress for 30 minutes (last: forward)",
        ),
        # One that waits for the others never hangs itself.
        ([WAITING, Mark(7, 90.0, "validation")], "rank 1 made no progress for 30 minutes (last: validation)"),
        ([WAITING, WAITING], "no progress for 30 minutes: each rank waits for the others; check the network, then"),
    ],
)
def test_the_rank_that_keeps_the_others_waiting_is_named(marks: list[Mark], start: str) -> None:
    assert hang_reason(marks, 30).startswith(start)


def test_a_rank_that_does_not_answer_is_named_whatever_its_last_mark_was() -> None:
    start = "rank 0 made no progress for 30 minutes (last: reading the losses up to step 7) and does not answer; check"
    assert hang_reason([WAITING, Mark(7, 90.0, "backward")], 30, lost=[0]).startswith(start)


def test_a_process_that_waits_for_reads_names_what_was_read_first() -> None:
    activity = Activity()
    with reading("case a"):
        activity.mark("backward")
        assert str(activity.last) == "backward"
        activity.mark("waiting for patches", waits_for_reads=True)
        assert str(activity.last) == "reading case a"
    assert str(activity.last) == "waiting for patches"


@pytest.mark.parametrize("progresses", [True, False])
def test_only_a_run_without_progress_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, progresses: bool
) -> None:
    ended = threading.Event()
    monkeypatch.setattr(watchdog, "end_process", lambda *_: ended.set())
    with watch_for_hang(RunDirectory(tmp_path), DistributedContext(), 0.2 / 60, 1) as ranks:
        for step in range(10):
            ended.wait(0.05)
            if progresses:
                ranks.activity.mark("forward", step=step)
    assert ended.is_set() is not progresses


def test_a_run_that_has_ended_is_not_watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    killed = threading.Event()
    monkeypatch.setattr(watchdog, "end_process", lambda *_: killed.set())
    with watch_for_hang(RunDirectory(tmp_path), DistributedContext(), 0.1 / 60, 1) as ranks:
        ranks.activity.ended.set()
        assert not killed.wait(0.3)


@pytest.mark.parametrize(
    ("state", "then"),
    [
        (RunState.RUNNING, (RunState.FAILED, "a rank hangs")),
        (RunState.FINISHED, (RunState.FINISHED, None)),
        (RunState.INTERRUPTED, (RunState.INTERRUPTED, None)),
    ],
)
def test_what_hangs_after_the_end_of_a_run_is_no_failure_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state: RunState, then: tuple[RunState, str | None]
) -> None:
    codes: list[int] = []
    monkeypatch.setattr(os, "_exit", codes.append)
    run = RunDirectory(tmp_path)
    run.write_status(RunRecord(state, 3, 9))
    watchdog.end_process(run, "a rank hangs", 9, 0)
    status = run.status()
    assert (status.state, status.reason) == then
    assert codes == [1]
