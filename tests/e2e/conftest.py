"""What the tests of whole commands share: a faulty part slipped into them, and where their one run lies."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from brats_ablate.runs.directory import RunDirectory


@pytest.fixture
def importable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """Makes `source` the module `package.module` of every process started from here on."""

    def write(name: str, source: str) -> None:
        package, module = name.split(".")
        (tmp_path / package).mkdir()
        (tmp_path / package / f"{module}.py").write_text(source)
        monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)

    return write


@pytest.fixture
def run(work: Path) -> RunDirectory:
    """Of `+experiment=baseline fold=0 lr=0.001` on the small cohort."""
    return RunDirectory(work / "phantom" / "runs" / "baseline" / "fold=0" / "lr=0.001" / "seed=0")
