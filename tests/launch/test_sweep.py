from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf
from scaffolding import write_run

from brats_ablate.config.check import resolve
from brats_ablate.config.locations import resource_dir
from brats_ablate.errors import ConfigError
from brats_ablate.launch.submission import Submission, write_submission
from brats_ablate.launch.sweep import SweepRun, as_sweep_run, plan_sweep
from brats_ablate.runs.directory import RunDirectory
from brats_ablate.runs.identity import identity
from brats_ablate.runs.state import RunState


@pytest.fixture(scope="module")
def baseline() -> DictConfig:
    with initialize_config_dir(str(resource_dir("conf")), version_base="1.3"):
        return compose("config", ["data=phantom", "+experiment=baseline"])


def make_sweep(baseline: DictConfig, runs: Path, folds: int) -> list[SweepRun]:
    sweep_runs = []
    for fold in range(folds):
        cfg = OmegaConf.merge(baseline, {"fold": fold, "paths": {"runs": str(runs)}})
        assert isinstance(cfg, DictConfig)
        sweep_runs.append(as_sweep_run(cfg, f"fold={fold}"))
    return sweep_runs


def directory(each: SweepRun) -> RunDirectory:
    assert each.run is not None
    return each.run


def write(each: SweepRun, state: RunState) -> None:
    write_run(directory(each), state, manifest={"identity": identity(resolve(each.cfg))})


def test_runs_that_are_finished_running_or_queued_are_not_submitted(
    baseline: DictConfig, tmp_path: Path, fake_command: Callable[[str, str], None]
) -> None:
    sweep_runs = make_sweep(baseline, tmp_path, 7)
    states = [RunState.FINISHED, RunState.FAILED, RunState.INTERRUPTED, RunState.RUNNING, RunState.RUNNING]
    for each, state in zip(sweep_runs, states, strict=False):
        write(each, state)
    queued, ended = (Submission("slurm", job, "", 1, "") for job in ("8", "9"))
    write_submission(directory(sweep_runs[5]).path, queued)
    write_submission(directory(sweep_runs[6]).path, ended)
    fake_command("squeue", "echo '8|PENDING'")
    with directory(sweep_runs[4]).lock():
        plan = plan_sweep(sweep_runs)
    assert plan.finished == [0]
    assert plan.to_submit == [1, 2, 3, 6]  # run 3 is recorded as running, but no process holds its lock
    assert plan.running_elsewhere == [4]
    assert plan.already_submitted == {5: queued}


def test_a_job_without_a_run_directory_is_always_submitted(baseline: DictConfig, tmp_path: Path) -> None:
    cfg = OmegaConf.merge(baseline, {"job": {"_target_": "brats_ablate.jobs.predict.run"}})
    assert isinstance(cfg, DictConfig)
    each = as_sweep_run(cfg, "predict")
    assert each.run is None
    assert plan_sweep([each, each]).to_submit == [0, 1]


def test_a_finished_run_with_a_different_configuration_is_refused_with_the_difference(
    baseline: DictConfig, tmp_path: Path
) -> None:
    (each,) = make_sweep(baseline, tmp_path, 1)
    write(each, RunState.FINISHED)
    changed = OmegaConf.merge(each.cfg, {"trainer": {"epochs": 3}})
    assert isinstance(changed, DictConfig)
    with pytest.raises(ConfigError, match=r"trainer\.epochs: 1000 -> 3"):
        plan_sweep([as_sweep_run(changed, "")])


def test_a_sweep_with_the_same_run_twice_is_refused(baseline: DictConfig, tmp_path: Path) -> None:
    (each,) = make_sweep(baseline, tmp_path, 1)
    with pytest.raises(ConfigError, match="the same run baseline fold=0"):
        plan_sweep([each, each])


def test_the_configuration_of_a_run_is_text_without_interpolations(baseline: DictConfig, tmp_path: Path) -> None:
    (each,) = make_sweep(baseline, tmp_path, 1)
    read: Any = OmegaConf.to_container(OmegaConf.create(each.configuration))
    assert read == OmegaConf.to_container(each.cfg, resolve=True)
    assert "${" not in each.configuration
