from __future__ import annotations

import json
from pathlib import Path

import pytest

from brats_ablate.launch import status
from brats_ablate.launch.status import collect_statuses, duration, format_status_grid
from brats_ablate.launch.submission import Submission, write_submission
from brats_ablate.runs.directory import (
    FAILED,
    FINISHED,
    INTERRUPTED,
    PEER_LOST,
    RUNNING,
    Coordinates,
    RunDirectory,
    RunRecord,
)


def directory(runs: Path, fold: int, name: str = "baseline", lr: float = 7e-4) -> RunDirectory:
    run = RunDirectory.at(runs, Coordinates(name, fold, lr, 0))
    run.path.mkdir(parents=True)
    return run


def test_each_state_is_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = [directory(tmp_path, fold) for fold in range(7)]
    for run, state in zip(runs, [FINISHED, RUNNING, RUNNING, FAILED, INTERRUPTED, INTERRUPTED], strict=False):
        run.write_status(RunRecord(state, 2, 4, 0.5, "no memory" if state == FAILED else None))
    queued = Submission("slurm", "8", "", 1, "")
    write_submission(runs[5].path, queued)
    monkeypatch.setattr(status.tickets, "slurm_states", lambda: {"8": "PENDING"})
    with runs[1].lock():
        found = collect_statuses(runs)
    assert [s.state for s in found] == [
        "finished", "running", "dead", "failed", "interrupted", "queued", "not started",
    ]  # fmt: skip
    assert found[3].reason == "no memory"
    assert "the same command continues it" in (found[2].reason or "")
    assert (
        "7 runs: 1 finished, 1 running, 1 queued, 1 interrupted, 1 failed, 1 dead, 1 not started"
        in format_status_grid(found)
    )


def test_time_left_is_the_last_epochs_time_times_what_is_left(tmp_path: Path) -> None:
    run = directory(tmp_path, 0)
    run.write_status(RunRecord(RUNNING, 900, 1000))
    padding = {f"loss/{i}": 0.123456789 for i in range(20)}
    rows = [{"epoch": e + 1, "seconds": 999.0 if e < 890 else 30.0, **padding} for e in range(900)]
    (run.path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows) + '{"epoch": 901, "sec')
    with run.lock():
        (found,) = collect_statuses([run])
    assert found.seconds_left == pytest.approx(30.0 * 100)


@pytest.mark.parametrize("left", [RunRecord(RUNNING, 2, 4), RunRecord(FAILED, 2, 4, None, f"rank 0: {PEER_LOST}")])
def test_a_dead_run_or_rank_is_told_with_slurms_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, left: RunRecord
) -> None:
    run = directory(tmp_path, 0)
    run.write_status(left)
    write_submission(run.path, Submission("slurm", "9", "", 1, ""))
    monkeypatch.setattr(status.tickets, "slurm_states", dict)
    monkeypatch.setattr(status.tickets, "slurm_ends", lambda jobs: dict.fromkeys(jobs, "OUT_OF_MEMORY"))
    (found,) = collect_statuses([run])
    assert found.state == ("dead" if left.state == RUNNING else "failed")
    assert "killed for memory" in (found.reason or "")


def test_a_job_that_ended_before_its_run_began_is_dead_and_names_its_log(tmp_path: Path) -> None:
    run = directory(tmp_path, 0)
    write_submission(run.path, Submission("local", "1", "/logs/1", 1, "elsewhere"))
    (found,) = collect_statuses([run])
    assert found.state == "dead"
    assert found.reason == "its job ended before it began; see its log in /logs/1"


def test_the_grid_has_a_row_per_experiment_and_rate_and_a_column_per_fold(tmp_path: Path) -> None:
    runs = [directory(tmp_path, fold, name, lr) for name in "ab" for lr in (5e-4, 7e-4) for fold in (0, 1)]
    for i, run in enumerate(runs):
        run.write_status(RunRecord(FINISHED, 4, 4, i / 10))
    header, *rows = format_status_grid(collect_statuses(runs)).splitlines()[:5]
    assert header.split() == ["experiment", "lr", "fold", "0", "fold", "1"]
    assert [row.split() for row in rows] == [
        ["a", "0.0005", "0.0000", "0.1000"],
        ["a", "0.0007", "0.2000", "0.3000"],
        ["b", "0.0005", "0.4000", "0.5000"],
        ["b", "0.0007", "0.6000", "0.7000"],
    ]


@pytest.mark.parametrize(
    ("seconds", "text"), [(40, "40s"), (300, "5m"), (7800, "2h10m"), (3 * 86400 + 4 * 3600, "3d04h")]
)
def test_durations_are_short(seconds: float, text: str) -> None:
    assert duration(seconds) == text
