"""docs/extending.md: its files work as they are printed, from a folder outside the project, by both commands."""

from __future__ import annotations

import csv
import re
import shlex
import shutil
import sys
from pathlib import Path

import documents
import pytest
from scaffolding import CommandLine

DOCUMENT = "docs/extending.md"
MOST_LINES = 20
TITLES = ["An experiment", "A table", "A loss", "A model", "A subclass of the U-Net", "A transform", "A metric"]


def test_shows_seven_extensions_of_at_most_20_lines_a_file() -> None:
    assert re.findall(r"^## ([^\n]+)$", documents.read(DOCUMENT), re.M) == TITLES
    files = documents.files(DOCUMENT)
    others = re.findall(r"^```(\S+)$", documents.read(DOCUMENT), re.M)
    assert set(others) == {"sh"}, "a block without a file name"
    assert len(files) == 15
    assert {name: len(text.splitlines()) for name, text in files.items() if len(text.splitlines()) > MOST_LINES} == {}


@pytest.mark.slow(minutes=2)
def test_every_command_runs_outside_the_project(work: Path, tmp_path: Path, small: tuple[str, ...]) -> None:
    study = tmp_path / "study"
    documents.write_files(DOCUMENT, study)
    (study / "labels").mkdir()
    for file in (work / "phantom" / "raw").rglob("*_seg.nii.gz"):
        shutil.copyfile(file, study / "labels" / file.name)
    commands = "".join(documents.fenced(DOCUMENT, "sh")).splitlines()
    assert {line.split()[0] for line in commands} == {"python", "brats-ablate"}
    script = str(Path(sys.executable).with_name("brats-ablate"))
    programs = {"brats-ablate": (script,), "python": ("-m", "brats_ablate")}

    def execute(line: str) -> tuple[int, str]:
        program, *arguments = shlex.split(line.replace("python -m brats_ablate", "python"))
        done = CommandLine(study, program=programs[program]).run(*arguments, *small, BRATS_ABLATE_WORK=str(work))
        return done.returncode, done.stdout

    outputs = {}
    for line in commands:
        code, outputs[line] = execute(line)
        assert code == 0, f"{line}\n{outputs[line]}"
    unfit = "brats-ablate -cd own model=small_dynunet model.network.out_channels=2 name=unfit fold=0,1 -m"
    code, sentence = execute(unfit)
    assert (code, len(sentence.splitlines())) == (2, 1)
    assert sentence.startswith("brats-ablate: model: DynUNet returns 2 channels for 3 regions; set its argument for")
    assert any("optimizer.weight_decay=0.0" in text for text in outputs.values()), "describe lists the difference"
    produced = work / "phantom"
    names = {
        "baseline",
        "no_decay",
        "dice_focal",
        "tversky",
        "segresnet",
        "shallow",
        "small_dynunet",
        "centered",
        "with_gamma",
    }
    assert {path.name for path in (produced / "runs").iterdir() if path.is_dir()} == names
    for name in names:
        (status,) = (produced / "runs" / name).rglob("status.json")
        assert '"finished"' in status.read_text()
    assert "Weight decay" in (produced / "tables" / "decay.md").read_text()
    with (produced / "evaluation" / "reader.csv").open(newline="") as stream:
        metrics = [row["metric"] for row in csv.DictReader(stream)]
    assert metrics.count("volume_error_ml") == metrics.count("dice") > 0
