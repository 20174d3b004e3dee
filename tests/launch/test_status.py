from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from scaffolding import run_at, write_run

from brats_ablate.jobs.sweep.time_left import seconds_left
from brats_ablate.launch.status import collect_statuses, format_status_grid
from brats_ablate.launch.submission import Submission, write_submission
from brats_ablate.runs.directory import PEER_LOST, RunRecord
from brats_ablate.runs.state import RunState

FakeCommand = Callable[[str, str], None]


def test_the_state_of_each_run(tmp_path: Path, fake_command: FakeCommand) -> None:
    runs = [run_at(tmp_path, fold=fold) for fold in range(7)]
    recorded = [RunState.FINISHED, RunState.RUNNING, RunState.RUNNING, RunState.FAILED, *[RunState.INTERRUPTED] * 2]
    for run, state in zip(runs, recorded, strict=False):
        write_run(run, state, epochs=4, reason="no memory" if state == RunState.FAILED else None)
    write_submission(runs[5].path, Submission("slurm", "8", "", 1, ""))
    fake_command("squeue", "echo '8|PENDING'")
    with runs[1].lock():
        statuses = collect_statuses(runs)
    assert [s.state for s in statuses] == [
        "finished", "running", "lost", "failed", "interrupted", "queued", "not started",
    ]  # fmt: skip
    assert statuses[3].reason == "no memory"
    assert "run the same command again" in (statuses[2].reason or "")
    assert (
        "7 runs: 1 finished, 1 running, 1 queued, 1 interrupted, 1 failed, 1 lost, 1 not started"
        in format_status_grid(statuses)
    )


def test_time_left_is_the_last_epochs_time_times_the_epochs_left(tmp_path: Path) -> None:
    run = write_run(run_at(tmp_path), RunState.RUNNING)
    run.write_status(RunRecord(RunState.RUNNING, 900, 1000))
    padding = {f"loss/{i}": 0.123456789 for i in range(20)}
    rows = [{"epoch": e + 1, "seconds": 999.0 if e < 890 else 30.0, **padding} for e in range(900)]
    (run.path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows) + '{"epoch": 901, "sec')
    with run.lock():
        (status,) = collect_statuses([run])
    assert status.seconds_left == pytest.approx(30.0 * 100)


def test_runs_of_a_slurm_that_does_not_answer_have_the_state_that_they_recorded(
    tmp_path: Path, fake_command: FakeCommand
) -> None:
    fake_command("squeue", "exit 1")
    runs = [write_run(run_at(tmp_path), RunState.INTERRUPTED, epochs=4), run_at(tmp_path, fold=1)]
    for run in runs:
        run.path.mkdir(parents=True, exist_ok=True)
        write_submission(run.path, Submission("slurm", "8", "", 1, ""))
    statuses = collect_statuses(runs)
    assert [s.state for s in statuses] == ["interrupted", "not started"]
    for status in statuses:
        sentence = "SLURM does not answer here, and its job 8 may have the run; if that job has ended, delete "
        assert status.reason == f"{sentence}{status.path}/launch.json"


@pytest.mark.parametrize(("recorded", "state"), [(RunState.RUNNING, "lost"), (RunState.FAILED, "failed")])
def test_the_cause_of_a_lost_run_or_rank_comes_from_slurm(
    tmp_path: Path, fake_command: FakeCommand, recorded: RunState, state: str
) -> None:
    run = write_run(run_at(tmp_path), recorded, epochs=4, reason=f"rank 0: {PEER_LOST}")
    write_submission(run.path, Submission("slurm", "9", "", 1, ""))
    fake_command("squeue", "")
    fake_command("sacct", "echo '9|OUT_OF_MEMORY'")
    (status,) = collect_statuses([run])
    assert status.state == state
    assert status.reason == "out of memory; request more, or lower trainer.batch_size"


def test_a_job_that_ended_before_its_run_started_is_lost_and_names_its_log(tmp_path: Path) -> None:
    run = run_at(tmp_path)
    run.path.mkdir(parents=True)
    write_submission(run.path, Submission("local", "1", "/logs/1", 1, "elsewhere"))
    (status,) = collect_statuses([run])
    assert status.state == "lost"
    assert status.reason == "its job ended before the run started; see the log in /logs/1"


@pytest.mark.parametrize(
    "line", ["[1]", '{"seconds": 30}', '{"epoch": 2, "seconds": "30 s"}', '{"epoch": 2, "seconds": {}}']
)
def test_a_run_with_unreadable_metrics_is_named(tmp_path: Path, line: str) -> None:
    run = write_run(run_at(tmp_path), RunState.RUNNING, epochs=4)
    file = run.path / "metrics.jsonl"
    file.write_text(f"{file.read_text()}{line}\n")
    with run.lock():
        (status,) = collect_statuses([run], seconds_left)
    assert status.state == RunState.UNREADABLE
    assert (status.reason or "").startswith(f"{file} is damaged")


def test_a_run_with_an_unreadable_status_has_no_epoch(tmp_path: Path) -> None:
    run = write_run(run_at(tmp_path))
    (run.path / "status.json").write_text("garbage")
    lines = format_status_grid(collect_statuses([run])).splitlines()
    assert lines[-2] == "1 run: 1 unreadable"
    assert lines[-1].startswith(f"  {run.coordinates}: unreadable: {run.path}/status.json is damaged")


def test_the_grid_has_a_row_per_experiment_and_rate_and_a_column_per_fold(tmp_path: Path) -> None:
    runs = [run_at(tmp_path, name, fold, lr) for name in "ab" for lr in (5e-4, 7e-4) for fold in (0, 1)]
    for i, run in enumerate(runs):
        write_run(run, dice=[i / 10])
    header, *rows = format_status_grid(collect_statuses(runs)).splitlines()[:5]
    assert header.split() == ["experiment", "lr", "fold", "0", "fold", "1"]
    assert [row.split() for row in rows] == [
        ["a", "0.0005", "0.0000", "0.1000"],
        ["a", "0.0007", "0.2000", "0.3000"],
        ["b", "0.0005", "0.4000", "0.5000"],
        ["b", "0.0007", "0.6000", "0.7000"],
    ]


def test_the_last_line_has_throughput_and_time_left_of_all_runs(tmp_path: Path) -> None:
    runs = [run_at(tmp_path, fold=fold) for fold in range(4)]
    for run, seconds in zip(runs[:2], (60.0, 120.0), strict=True):
        write_run(run, RunState.RUNNING, dice=()).write_status(RunRecord(RunState.RUNNING, 5, 10))
        run.append("metrics.jsonl", [{"epoch": 5, "seconds": seconds, "patches_per_second": 1.5}])
    with runs[0].lock(), runs[1].lock():
        statuses = collect_statuses(runs)
    # 5 and 10 minutes of two runs, and two whole runs of 15 minutes on average: 45 minutes, two at a time.
    assert "4 runs: 2 running, 2 not started; 3 patches/s; about 22m left" in format_status_grid(statuses)
    assert [s.as_dict()["patches_per_second"] for s in statuses] == [1.5, 1.5, None, None]
    assert "left" not in format_status_grid(collect_statuses(runs[2:]))
