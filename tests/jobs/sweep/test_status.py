from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from omegaconf import DictConfig, OmegaConf

from brats_ablate.jobs.sweep.status import run
from brats_ablate.runs.directory import FINISHED, Coordinates, RunDirectory, RunRecord


@pytest.fixture
def cfg(tmp_path: Path) -> DictConfig:
    found = RunDirectory.at(tmp_path / "runs", Coordinates("baseline", 0, 7e-4, 0))
    found.write_status(RunRecord(FINISHED, 4, 4, 0.91))
    return OmegaConf.create(
        {"name": "baseline", "fold": 1, "lr": 7e-4, "seed": 0, "paths": {"runs": str(tmp_path / "runs")}}
    )


def test_it_shows_what_is_there(cfg: DictConfig, capsys: pytest.CaptureFixture[str]) -> None:
    run(cfg, watch=0, json=None)
    assert capsys.readouterr().out.splitlines()[1].split() == ["baseline", "0.0007", "0.9100"]


def test_a_sweep_shows_what_is_not_yet_there_too(cfg: DictConfig, capsys: pytest.CaptureFixture[str]) -> None:
    run(cfg, watch=0, json=None, sweep=[cfg])
    assert "1 runs: 1 not started" in capsys.readouterr().out


def test_json_on_standard_output_and_in_a_file_say_the_same(
    cfg: DictConfig, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    run(cfg, watch=0, json=str(tmp_path / "status.json"))
    capsys.readouterr()
    run(cfg, watch=0, json="-")
    printed = json.loads(capsys.readouterr().out)
    assert printed == json.loads((tmp_path / "status.json").read_text())
    (only,) = printed["runs"]
    assert (only["name"], only["fold"], only["state"], only["best"]) == ("baseline", 0, "finished", 0.91)


def test_it_needs_no_deep_learning_import(tmp_path: Path) -> None:
    code = "import sys, brats_ablate.jobs.sweep.status, brats_ablate.jobs.sweep.plan; print(*sys.modules)"
    modules = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    assert not {"torch", "monai", "pandas", "numpy", "submitit", "wandb", "scipy"} & set(modules)
