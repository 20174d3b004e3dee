from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from brats_ablate.config import locations
from brats_ablate.config.data_options import known_layouts, known_schemes, scheme_named
from brats_ablate.errors import ConfigError


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
    assert {"wider", "baseline"} <= locations.option_files("experiment").keys()
    assert locations.table_dirs()[1:] == [Path("experiments"), tmp_path / "mine" / "experiments"]


def test_without_a_folder_only_the_installation_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["brats-ablate", "job=tables"])
    assert locations.own_config_dir() is None
    assert locations.config_dirs() == [locations.resource_dir("conf")]
    assert len(locations.table_dirs()) == 2


@pytest.fixture
def own_conf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["brats-ablate"])
    for group in ("labels", "data/layout", "validation"):
        (tmp_path / "conf" / group).mkdir(parents=True)
    return tmp_path / "conf"


def test_an_option_may_build_on_others_of_its_group(own_conf: Path) -> None:
    text = "defaults: [brats2021, _self_]\nname: mine\ncases: M\n"
    (own_conf / "labels" / "mine.yaml").write_text(text)
    (own_conf / "labels" / "again.yaml").write_text("name: of no use\ndefaults: [_self_, mine]\naveraged: [ET]\n")
    scheme = scheme_named("mine")
    assert scheme == replace(scheme_named("brats2021"), name="mine", cases="M")
    assert scheme_named("again") == replace(scheme, averaged=["ET"])
    (own_conf / "data" / "layout" / "mine.yaml").write_text("name: mine\ndefaults: [brats2023]\nimages: '{case}'\n")
    assert known_layouts()["mine"] == replace(known_layouts()["brats2023"], name="mine", images="{case}")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("defaults: [brats1999]", "brats1999 in its defaults is no option of labels; name those only"),
        ("defaults: [/inputs: plain]", "{'/inputs': 'plain'} in its defaults is no option of labels; name those only"),
        ("- a list", "correct it"),
        ("tissues: [", "correct it"),
        ("name: mine", "missing 2 required positional arguments: 'tissues' and 'regions'; correct it"),
    ],
)
def test_an_option_that_cannot_be_read_is_named(text: str, sentence: str, own_conf: Path) -> None:
    (own_conf / "labels" / "mine.yaml").write_text(text)
    with pytest.raises(ConfigError) as caught:
        known_schemes()
    assert str(caught.value).startswith(f"{own_conf / 'labels' / 'mine.yaml'}: ")
    assert str(caught.value).endswith(sentence)


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


def test_a_process_that_a_command_starts_finds_the_folder_of_its_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BRATS_ABLATE_CONFIG_DIR", "/of/a/command/around/this/one")
    reads = "from brats_ablate.config.locations import own_config_dir; print(own_config_dir())"
    for arguments, expected in (["-cd", "mine"], tmp_path / "mine"), ([], None):
        monkeypatch.setattr(sys, "argv", ["brats-ablate", *arguments])
        locations.pass_on_config_dir()
        started = subprocess.run([sys.executable, "-c", reads], capture_output=True, text=True, check=True, cwd="/")
        assert started.stdout == f"{expected}\n"
