from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf

from brats_ablate.config.identity import identity
from brats_ablate.config.locations import folder
from brats_ablate.errors import ConfigError
from brats_ablate.launching import selection as selecting
from brats_ablate.launching.selection import Work, select, work
from brats_ablate.launching.ticket import Ticket, write_ticket
from brats_ablate.rundir import FAILED, FINISHED, INTERRUPTED, RUNNING, Status


@pytest.fixture(scope="module")
def baseline() -> DictConfig:
    with initialize_config_dir(str(folder("conf")), version_base="1.3"):
        return compose("config", ["data=phantom", "+experiment=baseline"])


def works_of(baseline: DictConfig, runs: Path, folds: int) -> list[Work]:
    found = []
    for fold in range(folds):
        cfg = OmegaConf.merge(baseline, {"fold": fold, "paths": {"runs": str(runs)}})
        assert isinstance(cfg, DictConfig)
        found.append(work(cfg, f"fold={fold}"))
    return found


def give_status(each: Work, state: str) -> None:
    assert each.run is not None
    each.run.write_manifest({"identity": identity(each.cfg)})
    each.run.write_status(Status(state, 1, 4))


def test_only_what_is_neither_finished_nor_running_nor_queued_is_due(
    baseline: DictConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    works = works_of(baseline, tmp_path, 7)
    for each, state in zip(works, [FINISHED, FAILED, INTERRUPTED, RUNNING, RUNNING], strict=False):
        give_status(each, state)
    queued, gone = (Ticket("slurm", job, "", 1, "") for job in ("8", "9"))
    write_ticket(works[5].run.path, queued)  # type: ignore[union-attr]
    write_ticket(works[6].run.path, gone)  # type: ignore[union-attr]
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
    each = work(cfg, "predict")
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
        select([work(changed, "")])


def test_a_sweep_that_asks_twice_for_a_run_is_refused(baseline: DictConfig, tmp_path: Path) -> None:
    (each,) = works_of(baseline, tmp_path, 1)
    with pytest.raises(ConfigError, match="the same run baseline fold=0"):
        select([each, each])


def test_a_work_carries_its_configuration_as_text_without_references(baseline: DictConfig, tmp_path: Path) -> None:
    (each,) = works_of(baseline, tmp_path, 1)
    read: Any = OmegaConf.to_container(OmegaConf.create(each.configuration))
    assert read == OmegaConf.to_container(each.cfg, resolve=True)
    assert "${" not in each.configuration
