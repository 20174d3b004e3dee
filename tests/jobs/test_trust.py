"""Run directories and tuned settings of somebody else run no code, and changed ones are noticed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from omegaconf import OmegaConf

from brats_ablate.errors import ConfigError, RunFailed
from brats_ablate.runs.directory import RunDirectory

Job = Callable[..., None]
FinishedRun = Callable[..., RunDirectory]


def edit(run: RunDirectory, *path: str, value: object) -> None:
    """Set a value in a run's config.yaml, as somebody's editor would."""
    file = run.path / "config.yaml"
    tree = yaml.safe_load(file.read_text())
    node = tree
    for key in path[:-1]:
        node = node[key]
    node[path[-1]] = value
    file.write_text(yaml.safe_dump(tree, sort_keys=False))


@pytest.fixture
def runs(finished_run: FinishedRun) -> list[RunDirectory]:
    return [finished_run("+experiment=baseline", f"fold={fold}", dice=(0.5,)) for fold in range(3)]


@pytest.mark.parametrize("group", ["model", "inputs", "supervision", "encoder"])
def test_a_hostile_run_directory_runs_nothing(job: Job, runs: list[RunDirectory], tmp_path: Path, group: str) -> None:
    hostile = {"_target_": "os.system", "command": f"touch {tmp_path / 'ran'}"}
    edit(runs[0], group, "part", value=hostile)
    with pytest.raises(ConfigError, match=rf"config\.yaml: {group}\.part\._target_ names os\.system"):
        job("+experiment=baseline", "job=predict")
    assert not (tmp_path / "ran").exists()


def test_an_edited_configuration_is_refused(job: Job, runs: list[RunDirectory]) -> None:
    edit(runs[0], "patches", "shape", value=[32, 32, 32])
    with pytest.raises(RunFailed, match=r"config\.yaml was changed after the run was trained \(patches\.shape: "):
        job("+experiment=baseline", "job=predict")


def test_hostile_tuned_settings_run_nothing(job: Job, tmp_path: Path) -> None:
    hostile = {"_target_": "os.system", "command": f"touch {tmp_path / 'ran'}"}
    part = {"labels": hostile, "postprocess": {}}
    OmegaConf.save({"all": part, "folds": {0: part}}, tmp_path / "tuned.yaml")
    with pytest.raises(ConfigError, match=r"tuned\.yaml: all\.labels\._target_ names os\.system.*trust=\[os\.system\]"):
        job("job=predict", "job.reuse=nothing", f"job.settings={tmp_path / 'tuned.yaml'}")
    assert not (tmp_path / "ran").exists()
