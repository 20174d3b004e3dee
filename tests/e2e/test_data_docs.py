"""docs/data.md: its example prepares a layout that the package does not know, from a folder outside the project."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import documents
import nibabel as nib
import numpy as np
import pytest
from scaffolding import CommandLine

from brats_ablate.config.locations import resource_dir
from brats_ablate.data.store import CaseStore

DOCUMENT = "docs/data.md"
PROGRAM = "python -m brats_ablate "
MOST_LINES = 15
OF_KIND = {"FLAIR": 0, "T1": 1, "T1post": 2, "T2": 3}


def write_raw(folder: Path) -> dict[str, np.ndarray]:
    """Write seven visits of four patients; return the images by case, in the example's channel order."""
    images = {}
    for number, case in enumerate(f"P{p:02d}_v{v}" for p in (7, 8, 9, 10) for v in (1, 2) if (p, v) != (10, 2)):
        draw = np.random.default_rng(number)
        volumes = np.zeros((4, 12, 12, 12), np.int16)
        volumes[:, 2:10, 2:10, 2:10] = draw.integers(1, 999, (4, 8, 8, 8))
        labels = np.zeros((12, 12, 12), np.uint8)
        labels[3:9, 3:9, 3:9], labels[4:8, 4:8, 4:8], labels[5:7, 5:7, 5:7] = 2, 3, 1
        files = {f"mri/{case}/{kind}": volumes[i] for kind, i in OF_KIND.items()} | {f"masks/{case}_mask": labels}
        for name, array in files.items():
            path = folder / f"{name}.nii.gz"
            path.parent.mkdir(parents=True, exist_ok=True)
            nib.save(nib.Nifti1Image(array, np.eye(4)), path)
        images[case] = volumes[:, 2:10, 2:10, 2:10]
    return images


def test_an_own_option_has_at_most_15_lines() -> None:
    assert len(documents.files(DOCUMENT)["conf/data/mine.yaml"].splitlines()) <= MOST_LINES


def test_every_option_is_in_the_table_and_every_option_of_the_table_exists() -> None:
    documented = re.findall(r"^\| `(\w+)` \|", documents.read(DOCUMENT), re.M)
    assert sorted(documented) == sorted(
        f.stem for f in (resource_dir("conf") / "data").glob("*.yaml") if f.stem != "base"
    )


@pytest.mark.slow
def test_the_examples_prepare_from_a_foreign_folder(tmp_path: Path) -> None:
    images = write_raw(tmp_path / "raw")
    documents.write_files(DOCUMENT, tmp_path)
    command = CommandLine(tmp_path, environment={"BRATS_ABLATE_WORK": str(tmp_path / "work")})
    for line in "".join(documents.fenced(DOCUMENT, "sh")).splitlines():
        assert line.startswith(PROGRAM)
        done = command.run(
            *shlex.split(line.removeprefix(PROGRAM)), *([] if "data.n_folds=2" in line else ["data.n_folds=3"])
        )
        assert done.returncode == 0, done.stdout
    own = CaseStore(tmp_path / "work" / "mine" / "prepared")
    assert own.case_ids == sorted(images)
    for case, expected in images.items():
        assert np.array_equal(own.read_images(case), expected)
        assert np.unique(own.read_labels(case), return_counts=True)[1].tolist() == [512 - 216, 216 - 64, 8, 64 - 8]
    for fold in own.folds:
        patients = {case[:3] for case in fold}
        assert set(fold) == {case for case in images if case[:3] in patients}
    listed = CaseStore(tmp_path / "work" / "listed" / "prepared")
    assert np.array_equal(listed.read_images("C"), images["P08_v1"])
    assert sorted(map(sorted, listed.folds)) == [["A", "B"], ["C"]]
