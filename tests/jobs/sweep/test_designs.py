from __future__ import annotations

import sys
from pathlib import Path

import pytest
from composition import composed
from omegaconf import OmegaConf

from brats_ablate.jobs.sweep.designs import schedules
from brats_ablate.training.validation_schedule import ValidationSchedule


def test_designs_are_compared_over_own_schedules_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["brats-ablate"])
    (tmp_path / "conf" / "validation").mkdir(parents=True)
    shorter = OmegaConf.to_yaml(
        {"_target_": "brats_ablate.training.validation_schedule.ValidationSchedule", "every": 7}
    )
    (tmp_path / "conf" / "validation" / "weekly.yaml").write_text(shorter)
    (tmp_path / "conf" / "validation" / "rarely.yaml").write_text("defaults: [scheduled, _self_]\nevery: 50\n")
    known = schedules(composed())
    assert known["weekly"] == ValidationSchedule(7)
    assert known["rarely"] == ValidationSchedule(50, 1)
    assert set(known) == {"every_epoch", "scheduled", "weekly", "rarely"}
    own = schedules(composed("validation.every=3"))["this command's"]
    assert own == ValidationSchedule(3)
