from __future__ import annotations

import time
from pathlib import Path

import pytest
from omegaconf import OmegaConf
from scaffolding import run_at, write_run

from brats_ablate.launch.sweep import SweepRun
from brats_ablate.launch.time_left import SweepClock
from brats_ablate.runs.directory import RunRecord
from brats_ablate.runs.state import RunState

CFG = OmegaConf.create({"trainer": {"epochs": 10}})


def test_the_time_left_is_that_of_the_epochs_since_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sweep = [SweepRun("", CFG, run_at(tmp_path, fold=fold)) for fold in range(4)]
    runs = [each.run for each in sweep if each.run]
    write_run(runs[0], epochs=10).write_status(RunRecord(RunState.FINISHED, 10, 10))
    write_run(runs[1], epochs=10).write_status(RunRecord(RunState.INTERRUPTED, 4, 10))
    now = iter([0.0, 60.0, 60.0, 60.0, 660.0])
    monkeypatch.setattr(time, "monotonic", lambda: next(now))
    clock = SweepClock(sweep)
    assert clock.seconds_left([1, 2, 3]) is None
    runs[1].write_status(RunRecord(RunState.FINISHED, 10, 10))
    # 6 epochs in 60 s; 10 of each of two runs are left, or of one if the other has failed.
    assert clock.seconds_left([2, 3]) == 200
    assert clock.text([3]) == "  (about 1m left for the sweep)"
    assert clock.is_due
    assert clock.seconds_left([]) is None


def test_jobs_other_than_training_have_no_time_left() -> None:
    clock = SweepClock([SweepRun("fold=0", CFG, None)])
    assert clock.text([0]) == ""
    assert not clock.is_due
