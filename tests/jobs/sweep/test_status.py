from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import pytest
from omegaconf import DictConfig, OmegaConf
from scaffolding import run_at, write_run

from brats_ablate.jobs.sweep import status
from brats_ablate.jobs.sweep.status import run
from brats_ablate.runs.directory import find_runs


@pytest.fixture
def cfg(tmp_path: Path) -> DictConfig:
    write_run(run_at(tmp_path / "runs"), dice=(0.91,))
    return OmegaConf.create(
        {"name": "baseline", "fold": 1, "lr": 7e-4, "seed": 0, "paths": {"runs": str(tmp_path / "runs")}}
    )


def test_the_grid_shows_existing_runs(cfg: DictConfig, capsys: pytest.CaptureFixture[str]) -> None:
    run(cfg, watch=0, json=None)
    assert capsys.readouterr().out.splitlines()[1].split() == ["baseline", "0.0007", "0.9100"]


def test_with_a_sweep_the_grid_shows_runs_not_yet_started(cfg: DictConfig, capsys: pytest.CaptureFixture[str]) -> None:
    run(cfg, watch=0, json=None, sweep=[cfg])
    assert "1 run: 1 not started" in capsys.readouterr().out


def test_json_on_standard_output_equals_the_file(
    cfg: DictConfig, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    run(cfg, watch=0, json=str(tmp_path / "status.json"))
    capsys.readouterr()
    run(cfg, watch=0, json="-")
    printed = json.loads(capsys.readouterr().out)
    assert printed == json.loads((tmp_path / "status.json").read_text())
    (only,) = printed["runs"]
    assert (only["name"], only["fold"], only["state"], only["best"]) == ("baseline", 0, "finished", 0.91)


def test_disk_use_is_that_of_records_and_checkpoints(cfg: DictConfig, capsys: pytest.CaptureFixture[str]) -> None:
    (folder,) = (each.path for each in find_runs(Path(cfg.paths.runs)))
    (folder / "checkpoints").mkdir(exist_ok=True)
    for size, name in ((3072, "last.pt"), (1024, "best_epoch=0001_dice=0.910000.pt")):
        (folder / "checkpoints" / name).write_bytes(bytes(size))
    records = sum(file.stat().st_size for file in folder.iterdir() if file.is_file())
    run(cfg, watch=0, json=None)
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith(f"disk: 4.0 KiB of checkpoints, {records} B of records; job=clean lists")


@pytest.mark.parametrize("is_terminal", [True, False])
def test_watching_refreshes_the_grid_until_ctrl_c(
    cfg: DictConfig, is_terminal: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    waited = []

    def sleep(seconds: float) -> None:
        waited.append(seconds)
        if len(waited) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(time, "sleep", sleep)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: is_terminal)
    run(cfg, watch=5, json=None)
    printed = capsys.readouterr().out
    assert waited == [5, 5]
    assert ("refreshed every 5 s until Ctrl-C" in printed) == is_terminal
    assert "0.9100" in printed


@pytest.mark.parametrize("is_terminal", [True, False])
def test_watching_ends_with_its_reader(cfg: DictConfig, is_terminal: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []
    monkeypatch.setattr(status, "is_read", lambda: len(waited) < 2)
    monkeypatch.setattr(time, "sleep", waited.append)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: is_terminal)
    run(cfg, watch=5, json=None)
    assert waited == [5, 5]


def test_json_is_all_that_is_printed_also_while_watching(
    cfg: DictConfig, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stop(seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(time, "sleep", stop)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    run(cfg, watch=5, json="-")
    assert len(json.loads(capsys.readouterr().out)["runs"]) == 1
