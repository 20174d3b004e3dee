"""The order in which a training run starts and ends."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import nullcontext
from functools import partialmethod
from pathlib import Path
from typing import Any

import pytest
from omegaconf import DictConfig
from scaffolding import run_at, write_run

from brats_ablate.errors import ConfigError, RunFailed
from brats_ablate.jobs import train
from brats_ablate.launch.sweep import SweepRun, run_directory
from brats_ablate.runs.directory import RunDirectory, RunRecord
from brats_ablate.runs.state import RunState
from brats_ablate.runtime.activity import Activity
from brats_ablate.tracking.base import NullTracker
from brats_ablate.training.distributed import DistributedContext
from brats_ablate.training.failure import write_failure
from brats_ablate.training.trainer import Trainer


@pytest.mark.parametrize("error", [None, RuntimeError("a bug")])
def test_no_hang_is_looked_for_while_the_tracker_uploads(
    composed: Callable[..., DictConfig], monkeypatch: pytest.MonkeyPatch, error: RuntimeError | None
) -> None:
    activities: list[Activity] = []
    ended: dict[str, bool] = {}
    new_activity = Activity.__init__

    def fit(trainer: Trainer) -> None:
        ended["training"] = activities[-1].ended.is_set()
        if error is not None:
            raise error

    monkeypatch.setattr(Activity, "__init__", lambda self: (new_activity(self), activities.append(self))[0])
    monkeypatch.setattr(Trainer, "fit", fit)
    monkeypatch.setattr(NullTracker, "finish", lambda self: ended.update(upload=activities[-1].ended.is_set()))
    with pytest.raises(RuntimeError, match="a bug") if error else nullcontext():
        train.run(composed("+experiment=baseline"))
    assert ended == {"training": False, "upload": True}


def test_two_runs_of_one_name_and_other_settings_that_start_together_are_not_mixed(
    composed: Callable[..., DictConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    cfg = composed("+experiment=baseline")
    check, run = train.check_same_configuration, run_directory(cfg)
    other = run_at(run.path.parents[3], fold=1, lr=cfg.lr)

    def checked(each: SweepRun) -> None:
        check(each)
        write_run(other, RunState.RUNNING, manifest={"identity": {"loss.beta": 1}})  # started at this moment

    monkeypatch.setattr(train, "check_same_configuration", checked)
    with pytest.raises(ConfigError, match=rf"{other.path} has the same name, but other settings"):
        train.run(cfg)
    assert run.identity() is None
    assert not run.config()
    assert run.status().state == RunState.FAILED


def test_a_lock_that_the_first_rank_does_not_get_is_the_same_sentence_on_every_rank(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(RunDirectory, "lock", partialmethod(RunDirectory.lock, patience_s=0))
    gathered: list[Any] = []  # by the first rank, which runs first here

    def gather(ranks: DistributedContext, item: Any) -> list[Any]:
        if ranks.is_main_process:
            gathered.append(item)
        return gathered[-1:]

    monkeypatch.setattr(DistributedContext, "gather", gather)
    monkeypatch.setattr(DistributedContext, "barrier", lambda self: None)
    with RunDirectory(tmp_path).lock():
        for rank in range(2):
            held = train._held(RunDirectory(tmp_path), DistributedContext(rank, 2), 9)
            with pytest.raises(RunFailed, match="is being trained by process"), held:
                pytest.fail("started")
    assert RunDirectory(tmp_path).status() is None


def test_a_directory_that_was_created_again_gets_no_status_of_any_rank(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(DistributedContext, "gather", lambda self, item: [item])
    first, second, new = (RunDirectory(tmp_path / "run") for _ in range(3))
    with (
        train._held(first, DistributedContext(0, 2), 9),
        train._held(second, DistributedContext(1, 2), 9),
    ):
        shutil.rmtree(first.path)
        with new.lock():
            new.write_status(RunRecord(RunState.RUNNING, 1, 9))
            for run in (first, second):
                write_failure(run, "another rank exited unexpectedly", 9)
            status = new.status()
    assert status.state == RunState.RUNNING
