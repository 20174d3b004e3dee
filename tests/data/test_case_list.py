from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from schemes import LAYOUTS

from brats_ablate.data.case_list import read_list
from brats_ablate.errors import ConfigError, DataError

KINDS = ("flair", "t1", "t1ce", "t2", "seg")


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """Files of two cases, whose names say nothing that a BraTS layout knows."""
    for case in ("a", "b"):
        for kind in KINDS:
            path = tmp_path / "data" / case / f"{kind}-image.nii.gz"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    (tmp_path / "data" / "four.nii.gz").touch()
    return tmp_path


def _read(path: Path, layout="brats2021"):
    return read_list(path, LAYOUTS[layout] if isinstance(layout, str) else layout)


def _csv(root: Path, *lines: str) -> Path:
    (root / "cases.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return root / "cases.csv"


def _json(root: Path, content) -> Path:
    (root / "cases.json").write_text(json.dumps(content), encoding="utf-8")
    return root / "cases.json"


def _row(case: str) -> str:
    return ",".join(f"data/{case}/{kind}-image.nii.gz" for kind in KINDS)


def test_a_table_names_the_files_of_each_case(files):
    path = _csv(files, "case,FLAIR,T1,t1gd,t2,segmentation,patient", f"B,{_row('b')},p1", f"A,{_row('a')},p1")
    first, second = _read(path)
    assert (first.case_id, second.case_id, first.patient_id) == ("A", "B", "p1")
    assert first.images == {k: (files / f"data/a/{k}-image.nii.gz", None) for k in KINDS[:4]}
    assert list(first.images) == list(KINDS[:4])
    assert second.segmentation == files / "data/b/seg-image.nii.gz"


def test_an_empty_cell_is_a_missing_file_and_columns_are_optional(files):
    (case,) = _read(_csv(files, "case,flair,t1", "A,data/a/flair-image.nii.gz,"))
    assert (list(case.images), case.segmentation, case.patient_id) == (["flair"], None, "A")


def test_without_a_declared_patient_it_is_that_of_the_layout_if_the_id_names_one(files):
    cases = _read(_csv(files, "case", "BraTS-GLI-00005-000", "BraTS-GLI-00005-001", "X"), "brats2023")
    assert [c.patient_id for c in cases] == ["BraTS-GLI-00005", "BraTS-GLI-00005", "X"]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["case,flair", "A,data/a/no.nii.gz"], r"cases\.csv, line 2: .*data/a/no\.nii\.gz does not exist; correct"),
        (["case,flair", "A,", "B,", "A,"], r"line 4: case A is listed twice; remove one"),
        (["case,flare", "A,x"], r"unknown column 'flare'; the columns are case, flair, t1, t1ce, t2, segmentation, pa"),
        (["case,t1ce,t1gd", "A,,"], r"cases\.csv has two columns for t1ce; remove one"),
        (["flair", "data/a/flair-image.nii.gz"], r"cases\.csv has no column case; add one"),
        (["case,flair", "A"], r"line 2: it has not as many fields as the first line"),
        (["case,flair", "A,,x"], r"line 2: it has not as many fields as the first line"),
        (["case,flair", ","], r"line 2: the case is empty; give it an id"),
        (["case,flair", "a/b,"], r"line 2: case 'a/b' must be a plain name"),
        (["case,flair"], r"cases\.csv lists no case"),
    ],
)
def test_a_table_that_cannot_be_read_is_refused_with_the_line(files, lines, message):
    with pytest.raises(DataError, match=message):
        _read(_csv(files, *lines))


def test_a_table_of_another_encoding_is_refused(files):
    (files / "cases.csv").write_bytes("case,flair\nFäll,\n".encode("latin-1"))
    with pytest.raises(DataError, match=r"cases\.csv is not UTF-8 text; save it as such"):
        _read(files / "cases.csv")


def test_a_monai_datalist_finds_modalities_in_the_names_of_its_files(tmp_path):
    names = [f"Training/BraTS2021_00001/BraTS2021_00001_{k}.nii.gz" for k in ("flair", "t1ce", "t1", "t2", "seg")]
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (case,) = _read(_json(tmp_path, {"training": [{"fold": 0, "image": names[:4], "label": names[4]}]}))
    assert case.case_id == "BraTS2021_00001"
    assert {m: path.name for m, (path, _) in case.images.items()} == {
        m: f"BraTS2021_00001_{m}.nii.gz" for m in ("flair", "t1", "t1ce", "t2")
    }
    assert list(case.images) == ["flair", "t1", "t1ce", "t2"]
    assert case.segmentation == tmp_path / names[4]
    with pytest.raises(DataError, match=r"training entry 1: the names of its images give t1 twice; correct them"):
        _read(_json(tmp_path, {"training": [{"image": [names[2], *names[1:4]]}]}))


def test_names_say_the_modality_in_any_folder(tmp_path):
    for kind in KINDS:
        (tmp_path / f"BraTS2021_00001_{kind}.nii.gz").touch()
    images = [f"BraTS2021_00001_{kind}.nii.gz" for kind in ("t2", "t1ce", "t1", "flair")]
    (case,) = _read(_json(tmp_path, {"training": [{"image": images}]}))
    assert case.case_id == "BraTS2021_00001"
    assert {m: path.name for m, (path, _) in case.images.items()} == {
        m: f"BraTS2021_00001_{m}.nii.gz" for m in KINDS[:4]
    }


def test_a_name_that_tells_nothing_among_others_that_do_is_refused(tmp_path):
    images = [f"A/A_{kind}.nii.gz" for kind in ("t1", "t1c", "t2", "flair")]
    with pytest.raises(DataError, match=r"training entry 1: the name of A/A_t1c\.nii\.gz tells no modality and those"):
        _read(_json(tmp_path, {"training": [{"image": images}]}))


def test_numbers_in_names_have_the_declared_order(tmp_path):
    folder = tmp_path / "imagesTr"
    folder.mkdir()
    images = [f"imagesTr/A_{number:04d}.nii.gz" for number in (3, 0, 4, 1, 2)]
    for image in images:
        (tmp_path / image).touch()
    entry = {"training": [{"image": images}]}
    with pytest.raises(DataError, match=r"cases\.json has no channel_names, so what the numbers of the files mean is"):
        _read(_json(tmp_path, entry), "nnunet")
    others = [f"imagesTr/{modality}.nii.gz" for modality in ("flair", "t1", "t1ce", "t2")]
    for image in others:
        (tmp_path / image).touch()
    (case,) = _read(_json(tmp_path, {"training": [{"image": others, "case": "B"}]}), "nnunet")
    assert [path.name for path, _ in case.images.values()] == [Path(image).name for image in others]
    channels = {"channel_names": dict(enumerate(("T1", "T1ce", "T2", "FLAIR", "ADC")))}
    expected = {m: folder / f"A_000{i}.nii.gz" for i, m in enumerate(("t1", "t1ce", "t2", "flair"))}
    (case,) = _read(_json(tmp_path, entry | channels), "nnunet")
    assert {m: path for m, (path, _) in case.images.items()} == expected
    (tmp_path / "dataset.json").write_text(json.dumps(channels), encoding="utf-8")
    assert _read(_json(tmp_path, entry), "nnunet") == [case]
    with pytest.raises(DataError, match=r"the names of its images give flair twice"):
        _read(_json(tmp_path, {"training": [{"image": [images[0], *images]}]}), "nnunet")


def test_a_dataset_json_declares_the_volumes_of_a_list_too(files):
    order = dict(enumerate(("T2w", "T1w", "t1gd", "FLAIR")))
    (files / "data" / "dataset.json").write_text(json.dumps({"modality": order}), encoding="utf-8")
    (case,) = _read(_json(files, {"training": [{"image": "data/four.nii.gz"}]}), "msd")
    assert {m: index for m, (_, index) in case.images.items()} == {"flair": 3, "t1": 1, "t1ce": 2, "t2": 0}


def test_zero_is_a_case_and_a_patient(files):
    image = [f"data/a/{k}-image.nii.gz" for k in KINDS[:4]]
    rows = [{"case": i, "patient": 0, "image": image} for i in range(2)]
    assert [(c.case_id, c.patient_id) for c in _read(_json(files, {"training": rows}))] == [("0", "0"), ("1", "0")]


def test_files_whose_names_say_nothing_have_the_declared_order(files):
    row = {"case": "A", "image": [f"data/a/{k}-image.nii.gz" for k in ("t1", "t2", "flair", "t1ce")]}
    layout = replace(LAYOUTS["brats2021"], volumes=["t1", "t2", "flair", "t1ce"])
    (case,) = _read(_json(files, {"training": [row]}), layout)
    assert {m: p.name for m, (p, _) in case.images.items()} == {m: f"{m}-image.nii.gz" for m in KINDS[:4]}
    row["image"].pop()
    with pytest.raises(DataError, match=r"training entry 1: image must be one file, or 4 in the order t1, t2, flair"):
        _read(_json(files, {"training": [row]}), layout)


def test_without_a_declaration_the_order_is_that_of_the_channels(files):
    row = {"case": "A", "image": [f"data/a/{k}-image.nii.gz" for k in KINDS[:4]], "patient": "p"}
    (case,) = _read(_json(files, {"training": [row]}))
    assert case.images == {k: (files / f"data/a/{k}-image.nii.gz", None) for k in KINDS[:4]}
    assert (case.patient_id, case.segmentation) == ("p", None)


def test_the_dataset_json_of_the_decathlon_is_a_list(files):
    content = {"modality": {"0": "T1w", "1": "t1gd", "2": "T2w", "3": "FLAIR"}}
    content |= {"training": [{"image": "./data/four.nii.gz", "label": "data/a/seg-image.nii.gz"}]}
    (case,) = _read(_json(files, content), "msd")
    assert {m: index for m, (_, index) in case.images.items()} == {"flair": 3, "t1": 0, "t1ce": 1, "t2": 2}
    assert case.case_id == "four"
    with pytest.raises(
        DataError, match=r"cases\.json names the volumes .*'ADC'.* must be flair, t1, t1ce, t2, each once"
    ):
        _read(_json(files, content | {"modality": {"0": "ADC"}}), "msd")


def test_a_single_modality_is_a_3d_file(files):
    (case,) = _read(_json(files, {"training": [{"image": "data/four.nii.gz"}]}), "brats_men_rt")
    assert case.images == {"t1ce": (files / "data/four.nii.gz", None)}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"cases": []}, r"cases\.json is not a datalist, \{\"training\": "),
        ({"training": {}}, r"cases\.json is not a datalist"),
        ({"training": 7}, r"cases\.json is not a datalist"),
        ([7], r"cases\.json is not a datalist"),
        ({"training": [7]}, r"training entry 1: image must be one file, or 4 in the order flair, t1, t1ce, t2"),
        ({"training": [{"t1": "data/a/t1-image.nii.gz"}]}, r"training entry 1: image must be one file"),
        ({"training": [{"image": "x.nii.gz"}]}, r"training entry 1: .*x\.nii\.gz does not exist; correct the path"),
        ({"training": [{"image": "data/four.nii.gz"}] * 2}, r"training entry 2: case four is listed twice"),
    ],
)
def test_json_that_is_no_list_of_cases_is_refused(files, content, message):
    with pytest.raises(DataError, match=message):
        _read(_json(files, content))


@pytest.mark.parametrize("name", ["flair", "image"])
def test_images_whose_names_do_not_tell_the_case_need_its_name(tmp_path, name):
    for case in ("P0", "P1"):
        for kind in (name, *KINDS[1:4]):
            (tmp_path / case).mkdir(exist_ok=True)
            (tmp_path / case / f"{kind}.nii.gz").touch()
    rows = [{"image": [f"{case}/{kind}.nii.gz" for kind in (name, *KINDS[1:4])]} for case in ("P0", "P1")]
    with pytest.raises(
        DataError, match=rf'names of the images \({name}\.nii\.gz, …\) do not tell the case; add "case"'
    ):
        _read(_json(tmp_path, {"training": rows}))
    named = [{"case": row["image"][0][:2], **row} for row in rows]
    assert [case.case_id for case in _read(_json(tmp_path, {"training": named}))] == ["P0", "P1"]


@pytest.mark.parametrize("name", ["cases.csv", "cases.json"])
def test_a_list_that_does_not_exist_is_named(tmp_path, name):
    with pytest.raises(ConfigError, match=rf"the list of cases .*{name} does not exist; give a \.csv or \.json file"):
        _read(tmp_path / name)
