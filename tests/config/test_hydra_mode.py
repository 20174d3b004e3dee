"""A command's mode is found without a search, and in own files by one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hydra._internal.hydra import Hydra
from omegaconf import OmegaConf

from brats_ablate.config.hydra_mode import searched_in_own_files_only
from brats_ablate.config.locations import resource_dir


@contextmanager
def counted(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    calls: list[str] = []
    with monkeypatch.context() as patch:
        patch.setattr(Hydra, "get_mode", lambda self, **named: calls.append(named["config_name"]))
        yield calls


@pytest.mark.parametrize(
    ("arguments", "searches"),
    [
        (["-m", "fold=0,1"], 0),
        (["job=status"], 0),
        (["hydra/launcher=slurm", "data.raw=-cd"], 0),
        (["-cd", "sweeps", "fold=0"], 1),
        (["-cn=demo"], 1),
        (["--config-dir=own"], 1),
        (["hydra.mode=MULTIRUN"], 1),
        (["hydra.searchpath=[file:///own]"], 1),
    ],
)
def test_only_a_command_with_files_or_the_key_is_searched(
    arguments: list[str], searches: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    searched: Any = Hydra.__new__(Hydra)
    with counted(monkeypatch) as calls:
        with searched_in_own_files_only(arguments):
            assert searched.get_mode(config_name="config", overrides=[]) is None
        assert len(calls) == searches
        searched.get_mode(config_name="afterwards", overrides=[])
        assert calls[-1] == "afterwards"


def test_no_file_of_the_package_sets_the_mode() -> None:
    files = [
        file for file in resource_dir("conf").rglob("*.yaml") if "mode" in (OmegaConf.load(file).get("hydra") or {})
    ]
    assert files == []
    assert len(list(Path(resource_dir("conf")).rglob("*.yaml"))) > 100
