from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path

import pytest
from schemes import LAYOUTS

from brats_ablate.data.layouts import SEGMENTATION, Layout
from brats_ablate.data.raw_cases import find_cases
from brats_ablate.data.validation import validate_files
from brats_ablate.errors import ConfigError, DataError

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
    with pytest.raises(ConfigError, match=r"absent is not a folder; point job\.source"):
        find_cases(tmp_path / "absent", LAYOUTS["brats2021"], need_segmentation=True, key="job.source")
    with pytest.raises(ConfigError, match=r"absent is not a folder; point data\.raw"):
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


def test_segmentations_in_another_folder_are_joined_by_the_id(tmp_path):
    ids = ("UPENN-GBM-00001_11", "UPENN-GBM-00002_11")
    _touch(tmp_path, *(f"images_structural/{c}/{c}_{k}.nii.gz" for c in ids for k in ("T1", "T1GD", "T2", "FLAIR")))
    _touch(tmp_path, f"images_structural_unstripped/{ids[0]}/{ids[0]}_T1_unstripped.nii.gz")
    _touch(tmp_path, f"images_segm/{ids[0]}_segm.nii.gz", f"automated_segm/{ids[1]}_automated_approx_segm.nii.gz")
    layout = LAYOUTS["upenn_gbm"]
    first, second = find_cases(tmp_path, layout, need_segmentation=True)
    assert first.images["t1ce"] == (tmp_path / f"images_structural/{ids[0]}/{ids[0]}_T1GD.nii.gz", None)
    assert first.segmentation == tmp_path / f"images_segm/{ids[0]}_segm.nii.gz"
    assert first.patient_id == "UPENN-GBM-00001"
    assert second.segmentation is None
    (problem,) = validate_files([first, second], layout, need_segmentation=True).items()
    assert problem[0] == ids[1]
    assert problem[1].startswith("the segmentation is missing; add it")
    automated = replace(layout, segmentations="{case}_automated_approx_segm")
    assert find_cases(tmp_path, automated, need_segmentation=True)[1].segmentation is not None


def test_files_of_ucsf_that_are_no_input_are_left_out(tmp_path):
    case, names = "UCSF-PDGM-0429_FU003d", ("T1", "T1c", "T2", "FLAIR", "T1_bias", "FLAIR_bias", "brain_segmentation")
    _touch(tmp_path, *(f"{case}_nifti/{case}_{name}.nii.gz" for name in (*names, "tumor_segmentation")))
    (found,) = find_cases(tmp_path, LAYOUTS["ucsf_pdgm"], need_segmentation=True)
    assert {m: path.name for m, (path, _) in found.images.items()} == {
        "flair": f"{case}_FLAIR.nii.gz",
        "t1": f"{case}_T1.nii.gz",
        "t1ce": f"{case}_T1c.nii.gz",
        "t2": f"{case}_T2.nii.gz",
    }
    assert found.segmentation.name == f"{case}_tumor_segmentation.nii.gz"
    assert found.patient_id == "UCSF-PDGM-0429"


def test_the_channels_of_nnunet_have_the_order_of_its_dataset_json(tmp_path):
    root = tmp_path / "Dataset001_Own"
    _touch(root, *(f"imagesTr/x_1_{i:04d}.nii.gz" for i in range(5)), "labelsTr/x_1.nii.gz", "imagesTs/y_0000.nii.gz")
    layout = LAYOUTS["nnunet"]
    with pytest.raises(
        DataError, match=r"Dataset001_Own/dataset\.json does not exist, so what the numbers .*volumes=\[flair,"
    ):
        find_cases(root, layout, need_segmentation=True)
    (root / "dataset.json").write_text('{"channel_names": {"0": "T1", "1": "T1Gd", "2": "T2", "3": "FLAIR"}}')
    for source in (root, tmp_path, root / "imagesTr"):
        (case,) = find_cases(source, layout, need_segmentation=True)
        assert {m: path.name for m, (path, _) in case.images.items()} == {
            m: f"x_1_{i:04d}.nii.gz" for m, i in {"flair": 3, "t1": 0, "t1ce": 1, "t2": 2}.items()
        }
        assert (case.segmentation is None) == (source.name == "imagesTr")
    assert [c.case_id for c in find_cases(root, layout, need_segmentation=False)] == ["x_1", "y"]
    # An order that the user declares replaces that of the file, whatever it says.
    (root / "dataset.json").write_text("{}")
    declared = replace(layout, volumes=["t2", "t1", "t1ce", "flair"])
    (case,) = find_cases(root, declared, need_segmentation=True)
    assert {m: path.name[-8] for m, (path, _) in case.images.items()} == {
        "t2": "0",
        "t1": "1",
        "t1ce": "2",
        "flair": "3",
    }


def test_msd_volumes_have_the_order_of_the_dataset_json_next_to_them(tmp_path):
    _touch(tmp_path, "Task01/imagesTr/BRATS_001.nii.gz", "Task01/labelsTr/BRATS_001.nii/inner.nii")
    (tmp_path / "Task01/dataset.json").write_text('{"modality": {"0": "T1w", "1": "t1gd", "2": "T2w", "3": "FLAIR"}}')
    (case,) = find_cases(tmp_path, LAYOUTS["msd"], need_segmentation=True)
    assert {m: index for m, (_, index) in case.images.items()} == {"flair": 3, "t1": 0, "t1ce": 1, "t2": 2}
    assert list(case.images) == list(MODALITIES)
    assert case.segmentation == tmp_path / "Task01/labelsTr/BRATS_001.nii/inner.nii"


def test_a_single_modality_is_a_3d_file(tmp_path):
    layout = Layout("one", "{case}_img", "{case}_gtv", {"t1ce": ["t1c"]}, r"P\d+")
    _touch(tmp_path, "P1_img.nii.gz", "P1_gtv.nii.gz")
    (case,) = find_cases(tmp_path, layout, need_segmentation=True)
    assert case.images == {"t1ce": (tmp_path / "P1_img.nii.gz", None)}


def test_labels_of_no_image_are_reported(tmp_path):
    _touch(tmp_path, "imagesTr/BRATS_001.nii.gz", "labelsTr/BRATS_001_seg.nii.gz")
    layout = LAYOUTS["msd"]
    problems = validate_files(find_cases(tmp_path, layout, need_segmentation=True), layout, need_segmentation=True)
    assert problems["BRATS_001"].startswith("the segmentation is missing")
    assert problems["BRATS_001_seg"].startswith("modality flair, t1, t1ce, t2 is missing")


@pytest.mark.parametrize(
    ("names", "places"),
    [
        (("a/P1_seg.nii.gz", "b/P1_seg.nii.gz"), r"a/P1_seg\.nii\.gz, .*b/P1_seg\.nii\.gz"),
        (("c/P1_t1gd.nii.gz", "a/P1_seg.nii.gz"), r"c/P1_t1ce\.nii\.gz, .*c/P1_t1gd\.nii\.gz"),
    ],
)
def test_two_files_for_one_purpose_are_refused(tmp_path, names, places):
    _touch(tmp_path, *(f"c/P1_{kind}.nii.gz" for kind in MODALITIES), *names)
    layout = LAYOUTS["brats2021"]
    problems = validate_files(find_cases(tmp_path, layout, need_segmentation=True), layout, need_segmentation=True)
    assert re.search(rf"the id occurs 2 times \(.*{places}\); keep one", problems["P1"])


def test_without_a_case_some_files_that_match_nothing_are_listed(tmp_path):
    _touch(tmp_path, "a/brain.nii", "b/W1.nii.gz", "c/W2.nii.gz", "d/W3.nii.gz", "__MACOSX/a/._brain.nii", "notes.txt")
    expected = r"\(such as <case>_flair\.nii\.gz\); not recognized: brain\.nii, W1\.nii\.gz, W2\.nii\.gz, …; check"
    with pytest.raises(DataError, match=expected):
        find_cases(tmp_path, LAYOUTS["brats2021"], need_segmentation=True)


@pytest.mark.parametrize("folder", ["", "{}", "data/{}", "data/sub/site 1/{}"])
@pytest.mark.parametrize("case_id", ["BraTS2021_00000", "00007", "Fäll 3 (neu), 1=2", "UPENN-GBM-00001_21"])
def test_cases_of_any_name_are_found_at_any_depth(tmp_path, folder, case_id):
    where = tmp_path / folder.format(case_id)
    _touch(where, *(f"{case_id}_{kind}.nii.gz" for kind in ("flair", "t1", "t1ce", "t2", "seg")))
    (case,) = find_cases(tmp_path, LAYOUTS["brats2021"], need_segmentation=True)
    assert (case.case_id, case.segmentation) == (case_id, where / f"{case_id}_seg.nii.gz")
    assert {m: path for m, (path, _) in case.images.items()} == {m: where / f"{case_id}_{m}.nii.gz" for m in MODALITIES}


def test_the_expected_name_does_not_depend_on_the_inner_name_of_an_unpacked_folder(tmp_path):
    for kind in ("flair", "t1", "t1ce", "t2"):
        _touch(tmp_path, f"BraTS2021_00002/BraTS2021_00002_{kind}.nii/0002_brain_{kind}.nii")
    _touch(tmp_path, "BraTS2021_00002/labels.nii")
    layout = LAYOUTS["brats2021"]
    problems = validate_files(find_cases(tmp_path, layout, need_segmentation=True), layout, need_segmentation=True)
    assert "(not recognized: labels.nii; expected BraTS2021_00002_seg.nii.gz)" in problems["BraTS2021_00002"]


def test_a_link_to_itself_ends_the_search_nowhere(tmp_path):
    _case_files(tmp_path / "BraTS2021_00000", "BraTS2021_00000")
    for name in ("BraTS2021_00001_t1.nii.gz", "loop"):
        (tmp_path / name).symlink_to(tmp_path / name)
    cases = find_cases(tmp_path, LAYOUTS["brats2021"], need_segmentation=True)
    assert [c.case_id for c in cases] == ["BraTS2021_00000", "BraTS2021_00001"]


ORDER = ("t1", "t1ce")
PLAIN = Layout("own", "{case}_{modality}", "{case}_seg", {"t1": ["T1"], "t1ce": ["T1c", "T1GD"]}, r"P\d+")


@pytest.mark.parametrize(
    ("pattern", "path", "expected"),
    [
        ("{case}_{modality}", "/d/P1_T1.nii.gz", ("P1", "t1")),
        ("{case}_{modality}", "/d/P1_t1C.nii", ("P1", "t1ce")),
        ("{case}_{modality}", "/d/P1_T1_bias.nii.gz", None),
        ("{case}_{modality}", "/d/P1_T12.nii.gz", None),
        ("{case}_{modality}", "/d/XP1_T1.nii.gz", None),
        ("{case}.{modality}", "/d/P1xT1.nii.gz", None),  # a point is a point
        ("images/{case}/{case}_{modality}", "/d/Images/P1/P1_T1GD.nii.gz", ("P1", "t1ce")),
        ("images/{case}/{case}_{modality}", "/d/images/P2/P1_T1.nii.gz", None),
        ("{case}_nifti/{case}_{modality}", "/d/e/P1_nifti/P1_T1.nii.gz", ("P1", "t1")),
        ("{modality}/{case}", "/d/T1GD/P7.nii.gz", ("P7", "t1ce")),
        ("{modality}/{case}_{modality}", "/d/T1/P7_T1.nii.gz", ("P7", "t1")),
        ("{modality}/{case}_{modality}", "/d/T1/P7_T1c.nii.gz", None),
        ("imagesTr/{case}_{number}", "/d/imagesTr/P7_0001.nii.gz", ("P7", "t1ce")),
        ("imagesTr/{case}_{number}", "/d/imagesTr/P7_0003.nii.gz", ("P7", "")),
        ("imagesTr/{case}_{number}", "/d/imagesTr/P7_003.nii.gz", None),
        ("imagesTr/{case}", "/d/imagesTr/P7.nii.gz", ("P7", None)),
    ],
)
def test_a_pattern_is_compared_with_the_end_of_a_path(pattern, path, expected):
    layout = replace(PLAIN, images=pattern)
    case_id = layout.case_of(Path(path), pattern)
    assert (case_id and (case_id, layout.modality_in(Path(path), ORDER))) == expected


@pytest.mark.parametrize("name", sorted(LAYOUTS))
def test_every_shipped_layout_recognizes_the_names_that_it_expects(name):
    ids = {"brats2023": "BraTS-MET-00001-000", "brats_goat": "BraTS-GoAT-00001", "brats_men_rt": "BraTS-MEN-RT-0001-1"}
    case_id = ids.get(name, "UPENN-GBM-00001_11" if name == "upenn_gbm" else "UCSF-PDGM-0001")
    layout = LAYOUTS[name]
    if layout.is_numbered:
        layout = replace(layout, volumes=list(layout.modalities))
    for modality in layout.modalities:
        file = Path("/d") / layout.file_name(case_id, modality)
        assert layout.case_of(file, layout.images) == case_id
        assert layout.modality_in(file, list(layout.modalities)) == (None if layout.is_4d else modality)
    assert layout.case_of(Path("/d") / layout.file_name(case_id, SEGMENTATION), layout.segmentations) == case_id


@pytest.mark.parametrize(
    ("layout", "case_ids", "patient"),
    [
        ("brats2023", ["BraTS-GLI-02064-100", "BraTS-GLI-02064-101"], "BraTS-GLI-02064"),
        ("brats2023", ["BraTS-MET-00014-000", "BraTS-MET-00014-002"], "BraTS-MET-00014"),
        ("brats_men_rt", ["BraTS-MEN-RT-0012-1", "BraTS-MEN-RT-0012-2"], "BraTS-MEN-RT-0012"),
        ("upenn_gbm", ["UPENN-GBM-00001_11", "UPENN-GBM-00001_21"], "UPENN-GBM-00001"),
        ("ucsf_pdgm", ["UCSF-PDGM-0429", "UCSF-PDGM-0429_FU003d"], "UCSF-PDGM-0429"),
    ],
)
def test_shipped_layouts_find_the_patient_of_several_scans(tmp_path, layout, case_ids, patient):
    for case_id in case_ids:
        for modality in LAYOUTS[layout].modalities:
            _touch(tmp_path, LAYOUTS[layout].file_name(case_id, modality))
    cases = find_cases(tmp_path, LAYOUTS[layout], need_segmentation=True)
    assert {case.case_id: case.patient_id for case in cases} == dict.fromkeys(case_ids, patient)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"modalities": {}}, "modalities must name at least one modality"),
        ({"modalities": {"t1": []}}, "modalities must name at least one modality, each with its names in files"),
        ({"modalities": {"t1": "T1"}}, r"modalities\.t1=T1 must be a list of names"),
        ({"modalities": {"t1": ["a"], "t2": ["A"]}}, "modalities gives a to two modalities"),
        ({"case": "BraTS("}, r"case=BraTS\( is not a regular expression"),
        ({"case": "(?P<case>x)"}, r"case=\(\?P<case>x\) is not a regular expression \(the name of a group"),
        ({"folder": "["}, r"folder=\[ is not a regular expression"),
        ({"images": "{modality}"}, r"images=\{modality\} must contain \{case\}"),
        ({"images": "{case}_{kind}"}, r"images=\{case\}_\{kind\} contains \{kind\}; only"),
        ({"images": "{case}_{modality}_{number}"}, r"must contain one of \{modality\} and \{number\}, not both"),
        ({"unlabeled": "{case}"}, r"unlabeled=\{case\} must contain the same fields as images"),
        (
            {"segmentations": "{case}_{modality}"},
            r"segmentations=\{case\}_\{modality\} contains \{modality\}; only \{case\}",
        ),
        ({"images": "{case}_{modality}.nii.gz"}, r"images=.*\.nii\.gz must be without \.nii and \.nii\.gz"),
        ({"volumes": ["t1"]}, r"volumes=\['t1'\] must name each of t1, t1ce once"),
    ],
)
def test_an_impossible_layout_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        replace(PLAIN, **changes)
