"""A training of nnU-Net itself, imported: both programs predict the same."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator
from pathlib import Path

import documents
import nibabel as nib
import nnunet_study
import numpy as np
import pytest
from scaffolding import CommandLine

import brats_ablate

pytest.importorskip("nnunetv2", reason="nnunetv2 is not installed (pip install 'brats-ablate[nnunet]')")
EQUAL = 0.9999


def study(folder: Path, *arguments: str) -> CommandLine:
    """Run nnU-Net in `folder`; return the command line on its raw data, prepared."""
    program = (str(Path(nnunet_study.__file__)), str(folder), *arguments)
    done = CommandLine(folder, program=program).run()
    assert done.returncode == 0, done.stdout
    data = ("data=nnunet", f"data.raw={folder / 'raw' / nnunet_study.DATASET}", f"data.n_folds={nnunet_study.FOLDS}")
    command = CommandLine(folder, (*data, "trainer=cpu", "trainer.precision=fp32"))
    done = command.run("job=prepare")
    assert done.returncode == 0, done.stdout
    return command


def ran(command: CommandLine, *arguments: str) -> str:
    done = command.run(*arguments)
    assert done.returncode == 0, done.stdout
    return done.stdout


def commands_of_the_page(folder: Path, results: Path, raw: Path) -> Iterator[list[str]]:
    (source,) = re.findall(r"^source=(.*)$", documents.read("docs/nnunet.md"), re.M)
    for line in documents.commands("docs/nnunet.md", folder):
        replaced = {source: str(results), "/data/new": str(raw), "work/brats21": "work/nnunet"}
        for text, other in replaced.items():
            line = [argument.replace(text, other) for argument in line]
        yield line


def assert_equal(theirs: Path, ours: Path, count: int) -> None:
    """Assert that the label files of nnU-Net agree with those of the same names, and are no trivial ones."""
    files = sorted(theirs.glob("*.nii.gz"))
    assert len(files) == count
    for file in files:
        expected, found = (np.asarray(nib.load(path).dataobj) for path in (file, ours / file.name))
        assert len(np.unique(expected)) > 1
        assert (expected == found).mean() >= EQUAL, file.name


@pytest.mark.slow(minutes=1)
def test_exclusive_labels_in_our_unet_by_the_commands_of_the_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = study(tmp_path, "labels", "plain", "validate")
    results = tmp_path / "results" / nnunet_study.DATASET / nnunet_study.NAME
    raw = tmp_path / "raw" / nnunet_study.DATASET
    printed, table, _ = (ran(command, *line) for line in commands_of_the_page(tmp_path, results, raw))
    assert "own U-Net" in printed
    assert "% of the voxels of" in printed
    assert "other folds" not in printed
    assert "nnunet" in table
    assert_equal(tmp_path / "predicted", tmp_path / "work/nnunet/predictions/nnunet_new", nnunet_study.CASES)

    with (tmp_path / "work/nnunet/evaluation/nnunet.csv").open() as stream:
        ours = {(r["case"], r["region"]): float(r["value"]) for r in csv.DictReader(stream) if r["metric"] == "dice"}
    summary = json.loads((results / "fold_0/validation/summary.json").read_text())
    theirs = {Path(c["prediction_file"]).name[:13]: c["metrics"]["3"]["Dice"] for c in summary["metric_per_case"]}
    for case_id, dice in theirs.items():
        if np.isfinite(dice):  # ET is label 3 alone
            assert ours[case_id, "ET"] == pytest.approx(dice)

    options = (f"job.runs=[{tmp_path / 'work/nnunet/imported/nnunet'}]", "inference=nnunet")
    held_out = ",".join(theirs)
    ran(command, "job=predict", *options, "job.output=held_out", f"job.cases=[{held_out}]")
    assert_equal(results / "fold_0/validation", tmp_path / "work/nnunet/predictions/held_out", len(theirs))

    case_id = next(iter(theirs))
    files = {m: str(raw / "imagesTr" / f"{case_id}_{k:04}.nii.gz") for k, m in enumerate(nnunet_study.VOLUMES)}
    (code,) = documents.fenced("docs/nnunet.md", "python")
    code = code.replace("work/brats21", "work/nnunet").replace('"/data/new/BraTS2021_00000"', repr(files))
    monkeypatch.chdir(tmp_path)
    names: dict[str, np.ndarray] = {}
    exec(code, names)  # a document of this project
    expected = np.asarray(nib.load(tmp_path / "predicted" / f"{case_id}.nii.gz").dataobj)
    assert (names["labels"] == expected).mean() >= EQUAL


@pytest.mark.slow(minutes=1)
def test_regions_in_nnunets_own_architecture(tmp_path: Path) -> None:
    command = study(tmp_path, "regions", "anisotropic")
    results = tmp_path / "results" / nnunet_study.DATASET / nnunet_study.NAME
    printed = ran(command, "job=import", f"job.source={results}", "job.name=theirs")
    assert "unet.PlainConvUNet" in printed
    assert "so there is no column" in printed

    predict = brats_ablate.load_predictor(tmp_path / "work/nnunet/imported/theirs", "cpu")
    raw = tmp_path / "raw" / nnunet_study.DATASET / "imagesTr"
    files = sorted((tmp_path / "predicted").glob("*.nii.gz"))
    assert len(files) == nnunet_study.CASES
    for file in files:
        case_id = file.name.removesuffix(".nii.gz")
        case = predict({m: raw / f"{case_id}_{k:04}.nii.gz" for k, m in enumerate(nnunet_study.VOLUMES)})
        expected = np.asarray(nib.load(file).dataobj)
        assert len(np.unique(expected)) > 1
        assert (case.labels == expected).mean() >= EQUAL
