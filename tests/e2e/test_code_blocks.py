"""The code blocks of docs/python.md and docs/exporting.md run on a study of synthetic cases."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys

import numpy as np
import pytest
import torch
from documents import fenced
from scaffolding import CommandLine


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory, small: tuple[str, ...]) -> CommandLine:
    """A study with two folds of `ds`, trained for a moment."""
    folder = tmp_path_factory.mktemp("study")
    command = CommandLine(folder, small, {"BRATS_ABLATE_WORK": str(folder / "work")})
    for line in ("job=prepare", "+experiment=ds fold=0,1 -m"):
        done = command.run(*line.split())
        assert done.returncode == 0, done.stdout
    return command


@pytest.mark.slow(minutes=1)
def test_the_python_page(study: CommandLine) -> None:
    first = min((study.folder / "work/phantom/raw").iterdir())
    code = "\n".join(fenced("docs/python.md", "python"))
    code = code.replace("work/brats21/runs/ds_deeper_channels_onehot", "work/phantom/runs/ds")
    code = code.replace("/data/new/BraTS2021_00000", str(first)).replace("work/brats21", "work/phantom")
    code += "\nprint(case.labels.shape, case.probabilities.shape, case.regions, case.affine.shape, len(rows))"
    done = subprocess.run([sys.executable, "-c", code], cwd=study.folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    x, y, z = re.match(r"\((\d+), (\d+), (\d+)\)", done.stdout).groups()
    assert f"(3, {x}, {y}, {z}) ('WT', 'TC', 'ET') (4, 4)" in done.stdout


@pytest.mark.slow(minutes=1)
def test_the_exporting_page(study: CommandLine, small: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("onnxruntime")
    (run,) = (study.folder / "work/phantom/runs/ds/fold=0").glob("lr=*/seed=0")
    export, bundle = fenced("docs/exporting.md", "sh")
    for line in export.splitlines()[1:]:
        arguments = shlex.split(line.removeprefix("python -m brats_ablate "))
        arguments = [re.sub(r"work/brats21/runs/ds/.*", str(run), each) for each in arguments]
        done = study.run(*arguments)
        assert done.returncode == 0, f"{line}\n{done.stdout}"
    exports = study.folder / "work/phantom/exports"

    (python,) = fenced("docs/exporting.md", "python")
    monkeypatch.chdir(exports / "ds_fold0_onnx")
    (shape,) = (each.partition("=")[2] for each in small if each.startswith("patches.shape"))
    names = {"image": torch.from_numpy(np.random.default_rng(0).normal(size=(1, 4, 40, 40, 40)).astype(np.float32))}
    exec(python.replace("(128, 128, 128)", f"({shape.strip('[]')})"), names)  # a document of this project
    assert names["probabilities"].shape == (1, 3, 40, 40, 40)
    assert 0 <= names["probabilities"].min() <= names["probabilities"].max() <= 1

    line = bundle.splitlines()[1].replace("/data/new", str(study.folder / "work/phantom/raw"))
    command = [sys.executable, *shlex.split(line)[1:]]
    done = subprocess.run(
        command, cwd=exports / "ds_fold0_monai_bundle", env=os.environ, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    cases = {folder.name for folder in (study.folder / "work/phantom/raw").glob("Phantom_*")}
    written = (exports / "ds_fold0_monai_bundle" / "predictions").rglob("*_seg.nii.gz")
    assert {file.name.removesuffix("_seg.nii.gz") for file in written} == cases
