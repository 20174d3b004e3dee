from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from tracked import drawn

from brats_ablate.errors import ConfigError
from brats_ablate.jobs.build import instantiate
from brats_ablate.tracking.base import RunInfo, ValidationImage
from brats_ablate.tracking.several import SeveralTrackers


class Recorder:
    """Records its calls; fails in the one called `fails`."""

    def __init__(self, run: RunInfo, calls: list[Any], fails: str = "") -> None:
        self.run, self.calls, self.fails = run, calls, fails

    def _record(self, name: str, *arguments: Any) -> None:
        if name == self.fails:
            raise OSError("gone")
        self.calls.append((name, *arguments))

    def resume(self, step: int, rows: Sequence[dict[str, Any]]) -> None:
        self._record("resume", step, rows)

    def log_step(self, step: int, values: Mapping[str, float]) -> None:
        self._record("log_step", step, values)

    def log_image(self, make_image: Callable[[], ValidationImage]) -> None:
        self._record("log_image", make_image())

    def log(self, row: dict[str, Any]) -> None:
        self._record("log", row)

    def log_checkpoints(self, files: Sequence[Path]) -> None:
        self._record("log_checkpoints", files)

    def log_tables(self, tables: Mapping[str, pd.DataFrame]) -> None:
        self._record("log_tables", tables)

    def finish(self) -> None:
        self._record("finish")


def test_each_gets_everything_and_the_one_that_fails_ends_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = RunInfo("ds f0", "ds", "train", tmp_path, {})
    first: list[Any] = []
    second: list[Any] = []
    tracker = SeveralTrackers(run, a=partial(Recorder, calls=first, fails="log"), b=partial(Recorder, calls=second))
    images: list[ValidationImage] = []

    def draw() -> ValidationImage:
        images.append(drawn(1))
        return images[-1]

    tracker.resume(3, [{"epoch": 1}])
    tracker.log_step(4, {"loss": 1.0})
    tracker.log_image(draw)
    tracker.log({"epoch": 2})
    tracker.log_checkpoints([tmp_path])
    tracker.log_tables({})
    tracker.finish()
    assert len(images) == 1
    assert second == [
        ("resume", 3, [{"epoch": 1}]),
        ("log_step", 4, {"loss": 1.0}),
        ("log_image", images[0]),
        ("log", {"epoch": 2}),
        ("log_checkpoints", [tmp_path]),
        ("log_tables", {}),
        ("finish",),
    ]
    assert first == second[:3]
    (warning,) = capsys.readouterr().err.splitlines()
    assert warning.startswith("brats-ablate: tracking of ds f0 ended (gone); the run continues")


def test_impossible_settings_are_refused(tmp_path: Path) -> None:
    def build(run: RunInfo) -> Recorder:
        raise ConfigError("tracker.a.mode=x must be one of …")

    with pytest.raises(ConfigError, match=r"tracker\.a\.mode"):
        SeveralTrackers(RunInfo("a", "a", "train", tmp_path, {}), a=build)


def test_the_option_both_composes_w_and_b_and_tensorboard(
    tmp_path: Path, composition: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    made: dict[str, Any] = {}
    for name in ("wandb.WandbTracker", "tensorboard.TensorBoardTracker"):

        def make(run: RunInfo, name: str = name, **options: Any) -> Recorder:
            made[name] = options
            return Recorder(run, [])

        monkeypatch.setattr(f"brats_ablate.tracking.{name}", make)
    cfg = composition("tracker=both", "tracker.wandb.project=mine", "tracker.tensorboard.every_steps=5")
    instantiate(cfg.tracker, run=RunInfo("a", "a", "train", tmp_path, {}))
    assert made["wandb.WandbTracker"]["project"] == "mine"
    assert made["tensorboard.TensorBoardTracker"] == {"every_steps": 5}
