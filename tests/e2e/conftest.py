"""Fixtures for tests of whole commands: own modules that their processes can import, and the directory of a run."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from scaffolding import run_at

from brats_ablate.runs.directory import RunDirectory


@pytest.fixture
def importable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """Writes `source` as module `package.module`, importable in every process started afterwards."""

    def write(name: str, source: str) -> None:
        package, module = name.split(".")
        (tmp_path / package).mkdir()
        (tmp_path / package / f"{module}.py").write_text(source)
        monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)

    return write


@pytest.fixture
def run(work: Path) -> RunDirectory:
    """The run `+experiment=baseline fold=0 lr=0.001` on the small cohort."""
    return run_at(work / "phantom" / "runs", lr=0.001)
