from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path

import pytest

from brats_ablate.config import locations


@pytest.mark.parametrize("name", ["conf", "experiments", "sweeps"])
def test_the_checkouts_folders_are_found(name: str) -> None:
    assert list(locations.resource_dir(name).glob("*.yaml"))


def test_a_folder_inside_the_package_is_preferred(tmp_path: Path) -> None:
    package = tmp_path / "src" / "brats_ablate"
    assert locations.resource_dir("conf", package) == tmp_path / "conf"
    (package / "conf").mkdir(parents=True)
    assert locations.resource_dir("conf", package) == package / "conf"


@pytest.mark.parametrize("arguments", [["-cd", "mine", "-m"], ["--config-dir", "mine"], ["--config-dir=mine"]])
def test_the_folder_of_the_command_line_adds_experiments_and_tables(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine" / "experiment").mkdir(parents=True)
    (tmp_path / "mine" / "experiment" / "wider.yaml").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["brats-ablate", *arguments])
    assert locations.own_config_dir() == tmp_path / "mine"
    assert {"wider", "baseline"} <= set(locations.experiment_names())
    assert locations.table_dirs()[1:] == [Path("experiments"), tmp_path / "mine" / "experiments"]


def test_without_a_folder_only_the_installation_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["brats-ablate", "job=tables"])
    assert locations.own_config_dir() is None
    assert locations.config_dirs() == [locations.resource_dir("conf")]
    assert len(locations.table_dirs()) == 2


def test_a_folder_conf_here_counts_next_to_the_command_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "conf").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["brats-ablate", "-cd", "sweeps"])
    assert locations.config_dirs()[1:] == [tmp_path / "conf", tmp_path / "sweeps"]
    monkeypatch.setattr(sys, "argv", ["brats-ablate", "-cd", "conf"])
    assert locations.config_dirs()[1:] == [tmp_path / "conf"]


def test_modules_are_importable_here_and_in_child_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "module_of_a_user.py").touch()
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setenv("PYTHONPATH", "/earlier")
    locations.make_importable([tmp_path])
    locations.make_importable([tmp_path])
    assert sys.path.count(str(tmp_path)) == 1
    assert os.environ["PYTHONPATH"] == f"{tmp_path}{os.pathsep}/earlier"
    assert importlib.util.find_spec("module_of_a_user") is not None
