"""docs/tutorial.md: its file and commands work as they are printed, from a folder outside the project."""

from __future__ import annotations

import shlex
from pathlib import Path

import documents
import pytest
from scaffolding import CommandLine

DOCUMENT = "docs/tutorial.md"
SHORTER = ("trainer.epochs=2", "trainer.crops_per_case=1", "validation.every=1")


@pytest.mark.slow(minutes=4)
def test_every_command_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    documents.write_files(DOCUMENT, tmp_path)
    outputs = []
    monkeypatch.delenv("BRATS_ABLATE_WORK", raising=False)
    for line in "".join(documents.fenced(DOCUMENT, "sh")).splitlines():
        program, *arguments = shlex.split(line)
        assert program == "brats-ablate"
        done = CommandLine(tmp_path).run(
            *documents.in_one_process(arguments), *(SHORTER if "trainer=demo" in line else ())
        )
        assert done.returncode == 0, f"{line}\n{done.stdout}"
        outputs.append(done.stdout)
    assert "9 cases in work/clinic/prepared" in outputs[0]
    assert "channels: flair, t1, t1ce, t2" in outputs[0]
    assert "9 patients, small sample (fewer than 20)" in outputs[2]
    work = tmp_path / "work" / "clinic"
    assert {path.name for path in (work / "runs").iterdir()} == {"baseline", "ds"}
    assert (work / "tables" / "report.html").exists()
    assert len(list((work / "predictions" / "ds_new").rglob("*.nii.gz"))) == 9
    assert (work / "raw").exists() is False
    assert len(list((tmp_path / "raw" / "mri").iterdir())) == 9
