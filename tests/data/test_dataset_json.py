from __future__ import annotations

import json

import pytest
from schemes import GLI2024, LAYOUTS

from brats_ablate.config.data_options import known_schemes
from brats_ablate.data.dataset_json import check_labels, declared_order, find
from brats_ablate.errors import DataError
from brats_ablate.labels.scheme import LabelScheme

_TASK01 = {"0": "FLAIR", "1": "T1w", "2": "t1gd", "3": "T2w"}
_TASK01_LABELS = {"0": "background", "1": "edema", "2": "non-enhancing tumor", "3": "enhancing tumour"}
_SCHEMES = {name: LabelScheme.named_before(name) for name in ("brats2021", "brats2023", "msd")} | {"gli": GLI2024}


def _order(root, layout):
    return declared_order([root / "dataset.json"], LAYOUTS[layout].modality_of, tuple(LAYOUTS[layout].modalities))


def _declare(root, **content):
    (root / "dataset.json").write_text(json.dumps(content))


@pytest.mark.parametrize("layout", ["msd", "nnunet"])
@pytest.mark.parametrize(
    ("key", "names", "order"),
    [
        ("modality", _TASK01, ("flair", "t1", "t1ce", "t2")),
        ("modality", {"0": "T1w", "1": "t1gd", "2": "T2w", "3": "FLAIR"}, ("t1", "t1ce", "t2", "flair")),
        ("channel_names", {"0": " flair", "1": "t1gd", "2": "T1W", "3": "t2"}, ("flair", "t1ce", "t1", "t2")),
        ("channel_names", {"2": "t2W", "0": "T1ce", "3": "T1", "1": "Flair"}, ("t1ce", "flair", "t2", "t1")),
    ],
)
def test_the_declared_order_is_obeyed(tmp_path, layout, key, names, order):
    _declare(tmp_path, **{key: names})
    assert _order(tmp_path, layout) == order


def test_an_additional_volume_has_its_place(tmp_path):
    _declare(tmp_path, channel_names={"0": "ADC", "1": "FLAIR", "2": "T1w", "3": "t1gd", "4": "T2w"})
    assert _order(tmp_path, "msd") == ("", "flair", "t1", "t1ce", "t2")


def test_two_files_must_declare_the_same_order(tmp_path):
    places = [tmp_path / "a", tmp_path / "b"]
    for place in places:
        place.mkdir()
        _declare(place, modality=_TASK01)
    files = [place / "dataset.json" for place in places]
    known = (LAYOUTS["msd"].modality_of, tuple(LAYOUTS["msd"].modalities))
    assert declared_order(files, *known) == ("flair", "t1", "t1ce", "t2")
    assert declared_order([], *known) is None
    _declare(places[1], modality={"0": "T1w", "1": "FLAIR", "2": "t1gd", "3": "T2w"})
    with pytest.raises(DataError, match=r"a/dataset\.json and .*b/dataset\.json declare different orders of volumes"):
        declared_order(files, *known)


def test_the_nearest_file_above_an_image_counts(tmp_path):
    for place in ("", "Task01", "Task01/imagesTr/more"):
        (tmp_path / place).mkdir(parents=True, exist_ok=True)
        _declare(tmp_path / place)
    near, in_task, at_root = (tmp_path / place / "dataset.json" for place in ("Task01/imagesTr/more", "Task01", ""))
    images = tmp_path / "Task01" / "imagesTr"
    assert find(tmp_path, [images / "a.nii", images / "b.nii"]) == [in_task]
    assert find(tmp_path, [images / "a.nii", images / "more" / "b.nii"]) == [in_task, near]
    assert find(tmp_path, [tmp_path / "Task02" / "imagesTr" / "a.nii"]) == [at_root]
    assert find(images, [images / "a.nii"]) == [in_task]  # the folder of images alone
    in_task.unlink()
    assert find(tmp_path / "Task01", [images / "a.nii"]) == []  # not above the data set


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            {"modality": _TASK01 | {"3": "ADC"}},
            r"names the volumes \{.*'ADC'\}, which must be flair, t1, t1ce, t2, each once \(known names: flair: flair; ",
        ),
        ({"modality": _TASK01 | {"3": "FLAIR"}}, "names the volumes"),
        ({"modality": _TASK01 | {"4": "FLAIR"}}, "names the volumes"),
        ({"modality": {"0": "FLAIR", "1": "T1w", "2": "t1gd"}}, "names the volumes"),
        ({"modality": {"0": "FLAIR", "1": "T1w", "2": "t1gd", "4": "T2w"}}, "names the volumes"),
        ({"modality": list(_TASK01.values())}, "names the volumes"),
        ({}, "has no channel_names or modality, which must be flair"),
        ([], "is not a JSON object; correct or remove it"),
    ],
)
def test_an_order_that_cannot_be_understood_is_refused(tmp_path, content, message):
    (tmp_path / "dataset.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match=rf"dataset\.json {message}"):
        _order(tmp_path, "msd")


def test_a_damaged_file_is_named(tmp_path):
    (tmp_path / "dataset.json").write_text("{")
    with pytest.raises(DataError, match=r"dataset\.json is not valid JSON .*; correct or remove it"):
        _order(tmp_path, "msd")


@pytest.mark.parametrize(
    ("labels", "scheme", "wrong"),
    [
        (_TASK01_LABELS, "brats2023", "1 edema, 2 non-enhancing tumor"),
        ({"1": "necrotic core", "2": "Edema", "4": "GD-enhancing"}, "msd", "1 necrotic core, 2 Edema, 4 GD-enhancing"),
        ({"1": "non-contrast-enhancing", "2": "oedema"}, "msd", "1 non-contrast-enhancing, 2 oedema"),
        ({"background": 0, "NCR": 1, "ED": 2, "ET": 3}, "brats2021", "3 ET"),
        ({"background": 0, "edema": 1, "enhancing": 2, "whole": [1, 2]}, "msd", "2 enhancing"),
        ({"4": "resection cavity"}, "brats2021", "4 resection cavity"),
        (
            {"1": "enhancing tumor", "2": "NET", "3": "cystic component"},
            "gli",
            "1 enhancing tumor, 2 NET, 3 cystic component",
        ),
    ],
)
def test_declared_labels_that_contradict_the_scheme_are_refused(tmp_path, labels, scheme, wrong):
    _declare(tmp_path, labels=labels)
    message = rf"dataset\.json: the key labels declares {wrong}, which contradicts labels={_SCHEMES[scheme].name}; "
    with pytest.raises(DataError, match=message):
        check_labels(tmp_path / "dataset.json", _SCHEMES[scheme], known_schemes())


def test_the_schemes_that_fit_the_declared_labels_are_suggested(tmp_path):
    _declare(tmp_path, labels=_TASK01_LABELS)
    with pytest.raises(DataError, match=r"contradicts labels=brats2021; set labels=msd, or correct it"):
        check_labels(tmp_path / "dataset.json", _SCHEMES["brats2021"], [_SCHEMES["brats2023"], _SCHEMES["msd"]])
    with pytest.raises(DataError, match=r"contradicts labels=brats2021; correct it"):
        check_labels(tmp_path / "dataset.json", _SCHEMES["brats2021"], [_SCHEMES["brats2023"]])


@pytest.mark.parametrize(
    "labels", [_TASK01_LABELS, None, {"1": "tumor", "2": "edema and enhancing"}, {"1": "ödem"}, {"edema": 1, "x": [2]}]
)
def test_declared_labels_that_fit_or_are_not_clear_are_accepted(tmp_path, labels):
    _declare(tmp_path, labels=labels)
    check_labels(tmp_path / "dataset.json", _SCHEMES["msd"], known_schemes())


@pytest.mark.parametrize(
    "labels",
    [
        {"SNFH": 2, "NETC": 1, "ET": 3, "RC": 4},
        {
            "2": "surrounding non-enhancing FLAIR hyperintensity",
            "1": "non-enhancing tumor core",
            "4": "resection cavity",
        },
        {"1": "whole tumor", "3": "tumor core"},
    ],
)
def test_declared_labels_of_glioma_after_treatment_are_accepted(tmp_path, labels):
    _declare(tmp_path, labels=labels)
    check_labels(tmp_path / "dataset.json", GLI2024, known_schemes())
