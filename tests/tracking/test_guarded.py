from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from omegaconf import OmegaConf

from brats_ablate.errors import ConfigError
from brats_ablate.jobs.build import instantiate
from brats_ablate.tracking.base import NullTracker, RunInfo
from brats_ablate.tracking.guarded import GuardedTracker


class Failing(NullTracker):
    """Logs until its disk is full."""

    def __init__(self, run: RunInfo) -> None:
        super().__init__(run)
        self.logged: list[dict[str, Any]] = []

    def log(self, row: dict[str, Any]) -> None:
        if self.logged:
            raise OSError(28, "No space left on device")
        self.logged.append(row)

    def log_tables(self, tables: Mapping[str, pd.DataFrame]) -> None:
        raise AssertionError("called after the failure")


def test_the_first_failure_is_one_warning_and_the_last_call(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = RunInfo("ds f0", "ds", "train", tmp_path, {})
    failing = Failing(run)
    tracker = GuardedTracker(lambda: failing, run)
    for epoch in (1, 2, 3):
        tracker.log({"epoch": epoch})
    tracker.log_tables({})
    tracker.finish()
    assert failing.logged == [{"epoch": 1}]
    (warning,) = capsys.readouterr().err.splitlines()
    assert warning.startswith("brats-ablate: tracking of ds f0 ended ([Errno 28] No space left on device); the run")
    assert str(tmp_path) in warning


class Unreachable(NullTracker):
    """Fails in its constructor."""

    def __init__(self, run: RunInfo) -> None:
        raise RuntimeError("no service")


def test_a_tracker_that_cannot_start_is_a_warning(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = RunInfo("ds f0", "ds", "train", tmp_path, {})
    node = OmegaConf.create({"tracker": {"_target_": f"{__name__}.Unreachable"}}).tracker
    tracker = GuardedTracker(partial(instantiate, node, run=run), run)
    tracker.log({"epoch": 1})
    tracker.log_image(lambda: pytest.fail("an image was drawn"))
    assert capsys.readouterr().err.count("tracking of ds f0 ended (no service)") == 1


def test_impossible_settings_are_still_refused(tmp_path: Path) -> None:
    def build() -> NullTracker:
        raise ConfigError("tracker.mode=x must be one of …")

    with pytest.raises(ConfigError, match=r"tracker\.mode=x"):
        GuardedTracker(build, RunInfo("a", "a", "train", tmp_path, {}))
