from __future__ import annotations

import os
from pathlib import Path

import pytest
from schemes import LAYOUTS

from brats_ablate.data.layouts import find_cases
from brats_ablate.data.validation import validate_files
from brats_ablate.errors import DataError

MODALITIES = ("flair", "t1", "t1ce", "t2")


def _touch(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_brats2021_names_and_hidden_files(tmp_path):
    kinds = ("flair", "t1", "t1ce", "t2", "seg")
    _touch(tmp_path, *(f"{c}/{c}_{k}.nii.gz" for c in ("BraTS2021_00002", "BraTS2021_00000") for k in kinds))
    _touch(tmp_path, "BraTS2021_00000/._BraTS2021_00000_t1.nii.gz", "README.md")
    cases = find_cases(tmp_path, LAYOUTS["brats2021"], need_segmentation=True)
    assert [c.case_id for c in cases] == ["BraTS2021_00000", "BraTS2021_00002"]
    assert list(cases[0].images) == list(MODALITIES)
    assert cases[0].images["t1ce"] == (tmp_path / "BraTS2021_00000/BraTS2021_00000_t1ce.nii.gz", None)
    assert cases[0].segmentation == tmp_path / "BraTS2021_00000/BraTS2021_00000_seg.nii.gz"
    assert cases[0].patient_id == "BraTS2021_00000"


def test_brats2018_subfolders_plain_nii_and_missing_segmentation(tmp_path):
    _touch(tmp_path, *(f"HGG/Brats18_A_1/Brats18_A_1_{k}.nii.gz" for k in ("flair", "t1", "t1ce", "t2", "seg")))
    _touch(tmp_path, *(f"LGG/Brats18_B_1/Brats18_B_1_{k}.nii" for k in ("flair", "t1", "t1ce", "t2")))
    first, second = find_cases(tmp_path, LAYOUTS["brats2018"], need_segmentation=False)
    assert first.images["t2"][0].parent.parent.name == "HGG"
    assert second.images["flair"][0].name == "Brats18_B_1_flair.nii"
    assert second.segmentation is None


def test_gzipped_file_is_preferred_where_both_exist(tmp_path):
    _touch(tmp_path, "B_1/B_1_t1.nii", "B_1/B_1_t1.nii.gz")
    assert find_cases(tmp_path, LAYOUTS["brats2018"], need_segmentation=False)[0].images["t1"][0].suffix == ".gz"


def test_brats2023_scans_of_a_patient_share_its_id(tmp_path):
    for case in ("BraTS-GLI-00005-000", "BraTS-GLI-00005-101"):
        _touch(tmp_path, *(f"{case}/{case}-{k}.nii.gz" for k in ("t2f", "t1n", "t1c", "t2w", "seg")))
    cases = find_cases(tmp_path, LAYOUTS["brats2023"], need_segmentation=True)
    assert [c.patient_id for c in cases] == ["BraTS-GLI-00005"] * 2
    assert {m: p.name[20:23] for m, (p, _) in cases[0].images.items()} == {
        "flair": "t2f",
        "t1": "t1n",
        "t1ce": "t1c",
        "t2": "t2w",
    }


def test_msd_one_file_four_indices(tmp_path):
    _touch(tmp_path, "imagesTr/BRATS_001.nii.gz", "imagesTr/._BRATS_001.nii.gz", "labelsTr/BRATS_001.nii.gz")
    _touch(tmp_path, "imagesTs/BRATS_485.nii.gz")
    (training,) = find_cases(tmp_path, LAYOUTS["msd"], need_segmentation=True)
    # dataset.json of Task01: 0 FLAIR, 1 T1w, 2 t1gd, 3 T2w
    assert {m: i for m, (_, i) in training.images.items()} == {"flair": 0, "t1": 1, "t1ce": 2, "t2": 3}
    assert training.segmentation == tmp_path / "labelsTr/BRATS_001.nii.gz"
    everything = find_cases(tmp_path, LAYOUTS["msd"], need_segmentation=False)
    assert [(c.case_id, c.segmentation is None) for c in everything] == [("BRATS_001", False), ("BRATS_485", True)]


def test_empty_case_folder_is_a_case_without_files(tmp_path):
    _touch(tmp_path, "BraTS2021_00000/BraTS2021_00000_t1.nii.gz")
    (tmp_path / "BraTS2021_00001").mkdir()
    (tmp_path / "notes").mkdir()
    cases = find_cases(tmp_path, LAYOUTS["brats2021"], need_segmentation=True)
    assert [(c.case_id, len(c.images)) for c in cases] == [("BraTS2021_00000", 1), ("BraTS2021_00001", 0)]


def test_same_id_in_two_folders_is_returned_twice(tmp_path):
    _touch(tmp_path, "HGG/B_1/B_1_t1.nii.gz", "LGG/B_1/B_1_t1.nii.gz")
    assert [c.case_id for c in find_cases(tmp_path, LAYOUTS["brats2018"], need_segmentation=False)] == ["B_1", "B_1"]


def test_no_folder(tmp_path):
    with pytest.raises(DataError, match=r"absent is not a folder; point data\.raw"):
        find_cases(tmp_path / "absent", LAYOUTS["brats2021"], need_segmentation=True)


def test_wrong_layout_is_named(tmp_path):
    _touch(tmp_path, "BraTS-GLI-00005-000/BraTS-GLI-00005-000-t1n.nii.gz")
    with pytest.raises(
        DataError,
        match=r"contains no case of layout 'brats2021' .*look like data/layout=brats2023; not recognized: Bra",
    ):
        find_cases(tmp_path, LAYOUTS["brats2021"], need_segmentation=True, known=LAYOUTS)


def test_unreadable_folder_is_named(tmp_path, monkeypatch):
    _touch(tmp_path, "BraTS2021_00000/BraTS2021_00000_t1.nii.gz")
    scan = os.scandir

    def fail(path):
        if Path(path).name == "BraTS2021_00000":
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    # Permissions do not bind root, which tests may run as.
    monkeypatch.setattr(os, "scandir", fail)
    with pytest.raises(DataError, match=r"folder .*BraTS2021_00000 cannot be read \(Permission denied\)"):
        find_cases(tmp_path, LAYOUTS["brats2021"], need_segmentation=True)


def _case_files(folder: Path, case_id: str, kinds=("flair", "t1", "t1ce", "t2", "seg")) -> None:
    folder.mkdir(parents=True)
    for kind in kinds:
        (folder / f"{case_id}_{kind}.nii.gz").write_bytes(kind.encode())


def test_the_twin_tree_of_a_macos_archive_is_ignored(tmp_path):
    _case_files(tmp_path / "BraTS2021_00000", "BraTS2021_00000")
    (tmp_path / "__MACOSX" / "BraTS2021_00000").mkdir(parents=True)
    (tmp_path / "__MACOSX" / "BraTS2021_00000" / "._BraTS2021_00000_t1.nii.gz").write_bytes(b"\0")
    (case,) = find_cases(tmp_path, LAYOUTS["brats2021"], need_segmentation=True)
    assert len(case.images) == 4


def test_a_folder_in_place_of_a_file_counts_as_its_only_file(tmp_path):
    for kind in ("flair", "t1", "t1ce", "t2", "seg"):
        folder = tmp_path / "BraTS2021_00000" / f"BraTS2021_00000_{kind}.nii"
        folder.mkdir(parents=True)
        (folder / f"0001_brain_{kind}.nii").write_bytes(kind.encode())
    (case,) = find_cases(tmp_path, LAYOUTS["brats2021"], need_segmentation=True)
    assert {kind: path.read_text() for kind, (path, _) in case.images.items()} == {m: m for m in case.images}
    assert case.segmentation.read_text() == "seg"
    (folder / "second.nii").touch()
    with pytest.raises(
        DataError, match=r"BraTS2021_00000_seg\.nii is a folder with 2 NIfTI files; put the file itself"
    ):
        find_cases(tmp_path, LAYOUTS["brats2021"], need_segmentation=True)


def test_what_links_reach_twice_counts_once(tmp_path):
    _case_files(tmp_path / "data" / "BraTS2021_00000", "BraTS2021_00000")
    (tmp_path / "again").symlink_to(tmp_path / "data")
    (tmp_path / "data" / "BraTS2021_00000" / "up").symlink_to(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "BraTS2021_00000_t1.nii.gz").symlink_to(
        tmp_path / "data" / "BraTS2021_00000" / "BraTS2021_00000_t1.nii.gz"
    )
    assert len(find_cases(tmp_path, LAYOUTS["brats2021"], need_segmentation=True)) == 1
    linked = tmp_path / "linked"
    linked.symlink_to(tmp_path / "data")
    assert len(find_cases(linked, LAYOUTS["brats2021"], need_segmentation=True)) == 1


@pytest.mark.parametrize(
    ("layout", "case_id", "names", "expected"),
    [
        ("brats2021", "BraTS2021_00002", "{}_{}.nii.gz", "BraTS2021_00002_seg.nii.gz"),
        ("brats2023", "BraTS-GLI-00002-000", "{}-{}.nii.gz", "BraTS-GLI-00002-000-seg.nii.gz"),
    ],
)
def test_a_file_that_is_not_recognized_is_named_with_what_it_should_be(tmp_path, layout, case_id, names, expected):
    kinds = ("t2f", "t1n", "t1c", "t2w") if layout == "brats2023" else ("flair", "t1", "t1ce", "t2")
    (tmp_path / case_id).mkdir()
    for kind in kinds:
        (tmp_path / case_id / names.format(case_id, kind)).touch()
    (tmp_path / case_id / "W00_2000.01.01_Segm.nii.gz").touch()
    (tmp_path / case_id / "notes.txt").touch()
    cases = find_cases(tmp_path, LAYOUTS[layout], need_segmentation=True)
    reason = validate_files(cases, LAYOUTS[layout], need_segmentation=True)[case_id]
    assert f"missing (not recognized: W00_2000.01.01_Segm.nii.gz; expected {expected}); add it" in reason
    (tmp_path / case_id / names.format(case_id, kinds[2])).unlink()
    cases = find_cases(tmp_path, LAYOUTS[layout], need_segmentation=True)
    reason = validate_files(cases, LAYOUTS[layout], need_segmentation=True)[case_id]
    assert f"expected {names.format(case_id, kinds[2])}); add the file" in reason
