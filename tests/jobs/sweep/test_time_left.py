from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from scaffolding import run_at, write_run

from brats_ablate.jobs.sweep.time_left import seconds_left
from brats_ablate.runs.directory import RunDirectory, RunRecord
from brats_ablate.runs.state import RunState
from brats_ablate.tables.designs import INTERIM

TARGET = "brats_ablate.training.validation_schedule.ValidationSchedule"


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    return write_run(run_at(tmp_path), RunState.RUNNING)


def configure(run: RunDirectory, **schedule: int | None) -> None:
    (run.path / "config.yaml").write_text(yaml.safe_dump({"validation": {"_target_": TARGET, **schedule}}))


def row(epoch: int, validation: float = 0.0) -> dict[str, float]:
    return {"epoch": epoch, "seconds": 30 + validation} | ({"seconds/validation": validation} if validation else {})


def test_the_final_tenth_is_foreseen(run: RunDirectory) -> None:
    configure(run, every=10, final_every=1)
    rows = [row(epoch, 10.0 if epoch % 10 == 0 else 0.0) for epoch in range(21, 51)]
    record = RunRecord(RunState.RUNNING, 50, 100)
    # 50 epochs, interim validations of epochs 60 to 90, and ten final ones
    assert seconds_left(run, record, rows) == pytest.approx(50 * 30 + 4 * 10 + 10 * 10 / INTERIM)
    rows = [row(epoch, 40.0) for epoch in range(91, 96)]
    assert seconds_left(run, RunRecord(RunState.RUNNING, 95, 100), rows) == pytest.approx(5 * 70)
    assert seconds_left(run, record, []) is None


def test_validations_of_some_epochs_count(run: RunDirectory) -> None:
    configure(run, every=5, final_every=None)
    rows = [row(epoch, 50.0 if epoch % 5 == 0 else 0.0) for epoch in range(1, 21)]
    assert seconds_left(run, RunRecord(RunState.RUNNING, 20, 50), rows) == pytest.approx(30 * 30 + 6 * 50)


def test_other_epochs_are_alike(run: RunDirectory) -> None:
    rows = [row(epoch, 10.0) for epoch in range(1, 11)]
    for schedule in ({"every": 1, "final_every": None}, {"_target_": "mine.Schedule"}):
        configure(run, **schedule)  # type: ignore[arg-type]
        assert seconds_left(run, RunRecord(RunState.RUNNING, 10, 20), rows) == pytest.approx(10 * 40)
