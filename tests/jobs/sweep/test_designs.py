from __future__ import annotations

import sys
from pathlib import Path

import pytest
from composition import composed
from omegaconf import OmegaConf

from brats_ablate.errors import ConfigError
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
    (tmp_path / "conf" / "validation" / "once.yaml").write_text(shorter.replace("7", "${trainer.epochs}"))
    known = schedules(composed("trainer.epochs=9"))
    assert known["weekly"] == ValidationSchedule(7)
    assert known["rarely"] == ValidationSchedule(50, 1)
    assert known["once"] == ValidationSchedule(9)
    assert set(known) == {"every_epoch", "scheduled", "weekly", "rarely", "once"}
    own = schedules(composed("validation.every=3"))["this command's"]
    assert own == ValidationSchedule(3)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("every: 7", " is no schedule; begin it with _target_: brats_ablate.training.validation_schedule.Valid"),
        (
            "{defaults: [scheduled], every: '${trainer.epoch}'}",
            ": validation: Interpolation key 'trainer.epoch' not found; correct",
        ),
        ("{defaults: [scheduled], often: true}", ": .* got an unexpected keyword argument 'often'; correct"),
        ("{defaults: [scheduled], every: 0}", ": validation.every=0 must be at least 1; correct it"),
        ("defaults: [mine]", ": its defaults lead back to itself; correct them"),
    ],
)
def test_an_own_option_that_is_no_schedule_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str, sentence: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["brats-ablate"])
    file = tmp_path / "conf" / "validation" / "mine.yaml"
    file.parent.mkdir(parents=True)
    file.write_text(content)
    with pytest.raises(ConfigError, match=f"^{file}{sentence}"):
        schedules(composed())
