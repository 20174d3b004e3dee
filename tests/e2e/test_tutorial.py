"""docs/tutorial.md: its file and commands work as they are printed, from a folder outside the project."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from scaffolding import CommandLine

DOCUMENT = (Path(__file__).parents[2] / "docs" / "tutorial.md").read_text(encoding="utf-8")
SHORTER = ("trainer.epochs=2", "trainer.crops_per_case=1", "validation.every=1")


@pytest.mark.slow(minutes=4)
def test_every_command_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = re.findall(r"^```(\S+)(?: (\S+))?\n(.*?)^```$", DOCUMENT, re.M | re.S)
    for _, name, content in blocks:
        if name:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(content, encoding="utf-8")
    outputs = []
    monkeypatch.delenv("BRATS_ABLATE_WORK", raising=False)
    for line in "".join(content for language, _, content in blocks if language == "sh").splitlines():
        program, *arguments = shlex.split(line)
        assert program == "brats-ablate"
        done = CommandLine(tmp_path).run(*arguments, *(SHORTER if "trainer=demo" in line else ()))
        assert done.returncode == 0, f"{line}\n{done.stdout}"
        outputs.append(done.stdout)
    assert "9 cases in work/clinic/prepared" in outputs[0]
    assert "channels: flair, t1, t1ce, t2" in outputs[0]
    assert "small sample" in outputs[2] or "undecided" in outputs[2]
    work = tmp_path / "work" / "clinic"
    assert {path.name for path in (work / "runs").iterdir()} == {"baseline", "ds"}
    assert (work / "tables" / "report.html").exists()
    assert len(list((work / "predictions" / "ds_new").rglob("*.nii.gz"))) == 9
    assert (work / "raw").exists() is False
    assert len(list((tmp_path / "raw" / "mri").iterdir())) == 9
