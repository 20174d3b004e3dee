from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf

from brats_ablate.config.check import resolve
from brats_ablate.config.locations import resource_dir
from brats_ablate.errors import ConfigError
from brats_ablate.launch import sweep as selecting
from brats_ablate.launch.submission import Submission, write_submission
from brats_ablate.launch.sweep import SweepRun, as_sweep_run, select
from brats_ablate.runs.directory import FAILED, FINISHED, INTERRUPTED, RUNNING, RunRecord
from brats_ablate.runs.identity import identity


@pytest.fixture(scope="module")
def baseline() -> DictConfig:
    with initialize_config_dir(str(resource_dir("conf")), version_base="1.3"):
        return compose("config", ["data=phantom", "+experiment=baseline"])


def works_of(baseline: DictConfig, runs: Path, folds: int) -> list[SweepRun]:
    found = []
    for fold in range(folds):
        cfg = OmegaConf.merge(baseline, {"fold": fold, "paths": {"runs": str(runs)}})
        assert isinstance(cfg, DictConfig)
        found.append(as_sweep_run(cfg, f"fold={fold}"))
    return found


def give_status(each: SweepRun, state: str) -> None:
    assert each.run is not None
    each.run.write_manifest({"identity": identity(resolve(each.cfg))})
    each.run.write_status(RunRecord(state, 1, 4))


def test_only_what_is_neither_finished_nor_running_nor_queued_is_due(
    baseline: DictConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    works = works_of(baseline, tmp_path, 7)
    for each, state in zip(works, [FINISHED, FAILED, INTERRUPTED, RUNNING, RUNNING], strict=False):
        give_status(each, state)
    queued, gone = (Submission("slurm", job, "", 1, "") for job in ("8", "9"))
    write_submission(works[5].run.path, queued)  # type: ignore[union-attr]
    write_submission(works[6].run.path, gone)  # type: ignore[union-attr]
    monkeypatch.setattr(selecting, "activity", lambda tickets: {t: "waiting" for t in tickets if t == queued})
    with works[4].run.lock():  # type: ignore[union-attr]
        found = select(works)
    assert found.finished == [0]
    assert found.due == [1, 2, 3, 6]  # run 3 says that it runs, but nobody holds it
    assert found.elsewhere == [4]
    assert found.attached == {5: queued}


def test_a_job_without_a_run_directory_is_always_due(baseline: DictConfig, tmp_path: Path) -> None:
    cfg = OmegaConf.merge(baseline, {"job": {"_target_": "brats_ablate.jobs.predict.run"}})
    assert isinstance(cfg, DictConfig)
    each = as_sweep_run(cfg, "predict")
    assert each.run is None
    assert select([each, each]).due == [0, 1]


def test_a_finished_run_of_another_configuration_is_refused_with_the_difference(
    baseline: DictConfig, tmp_path: Path
) -> None:
    (each,) = works_of(baseline, tmp_path, 1)
    give_status(each, FINISHED)
    changed = OmegaConf.merge(each.cfg, {"trainer": {"epochs": 3}})
    assert isinstance(changed, DictConfig)
    with pytest.raises(ConfigError, match=r"trainer\.epochs: 1000 -> 3"):
        select([as_sweep_run(changed, "")])


def test_a_sweep_that_asks_twice_for_a_run_is_refused(baseline: DictConfig, tmp_path: Path) -> None:
    (each,) = works_of(baseline, tmp_path, 1)
    with pytest.raises(ConfigError, match="the same run baseline fold=0"):
        select([each, each])


def test_a_work_carries_its_configuration_as_text_without_references(baseline: DictConfig, tmp_path: Path) -> None:
    (each,) = works_of(baseline, tmp_path, 1)
    read: Any = OmegaConf.to_container(OmegaConf.create(each.configuration))
    assert read == OmegaConf.to_container(each.cfg, resolve=True)
    assert "${" not in each.configuration
