"""Which modality each of the files of one case is, by their names."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from schemes import LAYOUTS

from brats_ablate.errors import DataError
from brats_ablate.jobs.predict.images import given_case

MODALITIES = ("flair", "t1", "t1ce", "t2")
NUMBERED = [f"A_000{i}.nii.gz" for i in range(4)]


def images_of(files: list[Path], layout: str = "nnunet", volumes: list[str] | None = None) -> dict[str, str]:
    case = given_case(files, None, MODALITIES, replace(LAYOUTS[layout], volumes=volumes))
    return {modality: path.name for modality, (path, _) in case.raw.images.items()}


@pytest.mark.parametrize("folder", ["imagesTr", "imagesTs", "new"])
def test_the_numbers_of_files_have_the_order_of_dataset_json_or_of_the_layout(tmp_path: Path, folder: str) -> None:
    files = [tmp_path / folder / name for name in reversed(NUMBERED)]
    with pytest.raises(DataError, match=r"no dataset\.json above .*A_0003\.nii\.gz says what the numbers of the files"):
        images_of(files)
    assert images_of(files, volumes=["t2", "t1ce", "t1", "flair"])["t2"] == "A_0000.nii.gz"
    channels = dict(enumerate(("T1", "T1ce", "T2", "FLAIR", "ADC")))
    (tmp_path / folder).mkdir()
    for file in [*files, tmp_path / folder / "x.nii.gz"]:
        file.touch()
    (tmp_path / folder / "dataset.json").write_text(json.dumps({"channel_names": channels}))
    expected = {"t1": NUMBERED[0], "t1ce": NUMBERED[1], "t2": NUMBERED[2], "flair": NUMBERED[3]}
    assert images_of([*files, tmp_path / folder / "A_0004.nii.gz"]) == expected
    with pytest.raises(DataError, match=r"which modalities the files x\.nii\.gz, .* are is unclear"):
        images_of([tmp_path / folder / "x.nii.gz", *files[1:]])


@pytest.mark.parametrize(
    ("layout", "names"),
    [
        ("brats2021", ["A_flair", "B_t1", "A_t1ce", "A_t2"]),
        ("nnunet", ["A_0000", "A_0001", "B_0002", "A_0003"]),
    ],
)
def test_files_of_several_cases_are_refused(tmp_path: Path, layout: str, names: list[str]) -> None:
    with pytest.raises(DataError, match=r"the files are of several cases \(A, B\); give the files of one"):
        images_of([tmp_path / f"{name}.nii.gz" for name in names], layout)


def test_declared_volumes_replace_a_dataset_json_that_does_not_fit(tmp_path: Path) -> None:
    (tmp_path / "dataset.json").write_text(json.dumps({"modality": {"0": "ADC"}}))
    (tmp_path / "x.nii.gz").touch()
    layout = LAYOUTS["msd"]
    with pytest.raises(DataError, match=r"ADC.*, or set data\.layout\.volumes"):
        given_case(tmp_path / "x.nii.gz", None, MODALITIES, layout)
    order = ["t1", "t1ce", "t2", "flair"]
    case = given_case(tmp_path / "x.nii.gz", None, MODALITIES, replace(layout, volumes=order))
    assert {modality: index for modality, (_, index) in case.raw.images.items()} == {m: order.index(m) for m in order}


def test_names_say_the_modality_in_any_folder(tmp_path: Path) -> None:
    names = ["UPENN-GBM-00001_11_T2.nii.gz", *(f"UPENN-GBM-00001_11_{m}.nii.gz" for m in ("FLAIR", "T1", "T1GD"))]
    assert images_of([tmp_path / name for name in names], "upenn_gbm")["t2"] == names[0]
