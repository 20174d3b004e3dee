from __future__ import annotations

import json
import pickle
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from schemes import BRATS2021, GLI2024, MEN_RT

from brats_ablate.config.data_options import known_schemes, scheme_named
from brats_ablate.errors import ConfigError
from brats_ablate.labels.scheme import LabelError, LabelScheme

ADULT = {1: {"WT", "TC"}, 2: {"WT"}, 3: {"WT", "TC", "ET"}}
REGIONS_OF_VALUE: Mapping[str, Mapping[int, set[str]]] = {
    "brats2021": {1: {"WT", "TC"}, 2: {"WT"}, 4: {"WT", "TC", "ET"}},
    "brats2023": ADULT,
    "msd": {1: {"WT"}, 2: {"WT", "TC"}, 3: {"WT", "TC", "ET"}},
    "brats2024_gli": {1: {"WT", "TC"}, 2: {"WT"}, 3: {"WT", "TC", "ET"}, 4: {"RC"}},
    "brats_met": ADULT,
    "brats_men": ADULT,
    "brats_men_rt": {1: {"GTV"}},
    "brats_ped": {1: {"WT", "TC", "ET"}, 2: {"WT", "TC"}, 3: {"WT", "TC", "CC"}, 4: {"WT"}},
}
"""File value -> the regions that contain it, as the challenges define them."""
TISSUE_OF_VALUE: Mapping[str, Mapping[int, str]] = {
    "brats2021": {1: "NCR", 2: "ED", 4: "ET"},
    "brats2023": {1: "NCR", 2: "ED", 3: "ET"},
    "msd": {1: "ED", 2: "NCR", 3: "ET"},
    "brats2024_gli": {1: "NETC", 2: "SNFH", 3: "ET", 4: "RC"},
    "brats_met": {1: "NETC", 2: "SNFH", 3: "ET"},
    "brats_men": {1: "NETC", 2: "SNFH", 3: "ET"},
    "brats_men_rt": {1: "GTV"},
    "brats_ped": {1: "ET", 2: "NET", 3: "CC", 4: "ED"},
}
ORDER = {
    "brats2024_gli": ("WT", "TC", "ET", "RC"),
    "brats_ped": ("WT", "TC", "ET", "CC"),
    "brats_men_rt": ("GTV",),
}
BEFORE = ("brats2021", "brats2023", "msd")


def made(**changes: Any) -> LabelScheme:
    """A scheme of three tissues with two overlapping regions, changed."""
    arguments: dict[str, Any] = {"tissues": {"A": 1, "B": 2, "C": 3}, "regions": {"all": ["A", "B"], "b": ["B"]}}
    return LabelScheme("mine", **{**arguments, **changes})


SEPARATE = made(regions={"a": ["A"], "b": ["B"], "c": ["C"]})
SPLIT = made(regions={"all": ["A", "B", "C"], "b": ["B"], "c": ["C"]})


def test_the_tables_have_every_shipped_scheme() -> None:
    assert {scheme.name for scheme in known_schemes()} == set(REGIONS_OF_VALUE) == set(TISSUE_OF_VALUE)


@pytest.mark.parametrize("name", REGIONS_OF_VALUE)
def test_values_of_the_files_are_the_challenges_regions(name: str) -> None:
    scheme, expected = scheme_named(name), REGIONS_OF_VALUE[name]
    assert scheme.region_names == ORDER.get(name, ("WT", "TC", "ET"))
    assert scheme.averaged_names == scheme.region_names
    values = np.array([0, *expected], dtype=np.int16).reshape(1, -1, 1)
    for kind in (np.int16, np.float32, np.float64):
        encoded = scheme.encode(values.astype(kind))
        assert encoded.dtype == np.uint8
        names = [scheme.tissue_names[label] for label in encoded.ravel()]
        assert names == ["background", *TISSUE_OF_VALUE[name].values()]
    assert sorted(encoded.ravel().tolist()) == list(range(len(expected) + 1))
    masks = scheme.to_regions_np(encoded)
    for k, value in enumerate((0, *expected)):
        inside = {region for region, mask in zip(scheme.region_names, masks[:, 0, :, 0], strict=True) if mask[k]}
        assert inside == expected.get(value, set()), value
    decoded = scheme.decode(encoded)
    assert decoded.dtype == np.uint8
    np.testing.assert_array_equal(decoded, values)
    assert torch.equal(scheme.to_regions(torch.from_numpy(encoded)[None])[0], torch.from_numpy(masks))


@pytest.mark.parametrize(
    ("scheme", "value", "shown"),
    [
        (BRATS2021, 3, "3"),
        (LabelScheme.named_before("brats2023"), 4, "4"),
        (LabelScheme.named_before("msd"), 4, "4"),
        (GLI2024, 5, "5"),
        (MEN_RT, 2, "2"),
        (BRATS2021, 260, "260"),  # would be 4 in eight bits
        (BRATS2021, -1, "-1"),
        (BRATS2021, 255, "255"),
        (BRATS2021, 1.5, "1.5"),
        (BRATS2021, float("nan"), "nan"),
    ],
)
def test_an_unknown_value_is_reported_with_the_permitted_ones(scheme: LabelScheme, value: float, shown: str) -> None:
    with pytest.raises(LabelError) as caught:
        scheme.encode(np.array([0, 1, value]).reshape(1, 1, 3))
    allowed = ", ".join(str(v) for v in sorted((0, *scheme.tissues.values())))
    assert str(caught.value) == f"label value {shown} is not in labels={scheme.name} ({allowed})"


def test_values_close_to_an_integer_mean_it() -> None:
    scaled = np.array([0.0009, 3.9991, 2.0005]).reshape(1, 1, 3)
    assert BRATS2021.encode(scaled).ravel().tolist() == [0, 3, 1]
    with pytest.raises(LabelError, match=r"label value 3\.998 "):
        BRATS2021.encode(scaled - 0.0011)


def test_a_tissue_may_have_several_values_of_which_the_first_is_written() -> None:
    scheme = made(tissues={"A": 2, "B": [5, 1, 7]})
    values = np.array([0, 1, 2, 5, 7]).reshape(1, 1, 5)
    assert scheme.encode(values).ravel().tolist() == [0, 2, 1, 2, 2]
    assert scheme.decode(scheme.encode(values)).ravel().tolist() == [0, 5, 2, 5, 5]


def by_loop(scheme: LabelScheme, probabilities: np.ndarray, thresholds: list[float]) -> np.ndarray:
    """Each voxel by itself: the last region claims it that reaches its threshold with every region around it."""
    regions = {name: set(tissues) for name, tissues in scheme.regions.items()}
    stored = {tissue: label for label, tissue in enumerate(scheme.tissues, start=1)}
    labels = np.zeros(probabilities.shape[1:], dtype=np.uint8)
    for voxel in np.ndindex(labels.shape):
        reached = {
            name
            for k, name in enumerate(regions)
            if probabilities[(k, *voxel)] >= probabilities.dtype.type(thresholds[k])
        }
        for name, members in regions.items():
            around = {other for other, more in regions.items() if members < more}
            if name in reached and around <= reached:
                within = set().union(*(fewer for fewer in regions.values() if fewer < members))
                (own,) = members - within
                labels[voxel] = stored[own]
    return labels


@pytest.mark.parametrize(
    "scheme",
    [BRATS2021, GLI2024, MEN_RT, scheme_named("brats_ped"), SEPARATE, SPLIT],
    ids=lambda scheme: "-".join(scheme.regions),
)
@pytest.mark.parametrize("kind", [np.float16, np.float32])
def test_labels_of_probabilities_equal_a_loop_over_the_voxels(scheme: LabelScheme, kind: type) -> None:
    n = len(scheme.regions)
    thresholds = [0.45, 0.4, 0.5, 0.55][:n]
    around = [0.0, 0.39, 0.4, 0.449, 0.45, 0.5, 0.55, 1.0]
    probabilities = np.random.default_rng(0).choice(around, size=(n, 6, 7, 8)).astype(kind)
    labels = scheme.labels_from_probabilities(probabilities, thresholds)
    assert labels.dtype == np.uint8
    np.testing.assert_array_equal(labels, by_loop(scheme, probabilities, thresholds))
    assert set(np.unique(labels)) == {0, *(scheme.label(t) for t in scheme.tissues)}


def tissue_at(scheme: LabelScheme, *probabilities: float) -> str:
    """The tissue of one voxel at thresholds of .5."""
    voxel = np.array(probabilities, dtype=np.float32).reshape(-1, 1, 1, 1)
    return scheme.tissue_names[scheme.labels_from_probabilities(voxel, [0.5] * len(probabilities)).item()]


def test_regions_outside_one_another_by_hand() -> None:
    assert tissue_at(GLI2024, 1, 1, 1, 1) == "RC"  # the later one decides
    assert tissue_at(GLI2024, 0, 0, 0, 1) == "RC"  # nothing encloses it
    assert tissue_at(GLI2024, 1, 1, 1, 0) == "ET"
    assert tissue_at(GLI2024, 1, 0, 1, 0) == "SNFH"  # ET without TC
    assert tissue_at(GLI2024, 0, 1, 1, 0) == "background"
    assert tissue_at(scheme_named("brats_ped"), 1, 1, 1, 1) == "CC"
    assert tissue_at(scheme_named("brats_ped"), 1, 0, 0, 1) == "ED"
    assert tissue_at(SEPARATE, 1, 1, 0) == "B"


def test_every_region_must_have_a_threshold() -> None:
    with pytest.raises(ValueError, match="zip"):
        GLI2024.labels_from_probabilities(np.zeros((4, 1, 1, 1), np.float32), [0.5] * 3)


@pytest.mark.parametrize(
    ("scheme", "is_nested", "sized"),
    [
        (BRATS2021, True, "ET"),
        (GLI2024, False, "ET"),
        (scheme_named("brats_ped"), False, "ET"),
        (MEN_RT, True, "GTV"),
        (SEPARATE, False, "c"),
    ],
)
def test_nesting_and_the_region_that_cases_are_grouped_by(scheme: LabelScheme, is_nested: bool, sized: str) -> None:
    assert scheme.is_nested == is_nested
    assert scheme.sized_region == sized


def test_a_mean_may_leave_regions_out() -> None:
    scheme = replace(GLI2024, averaged=["WT", "TC", "ET"])
    assert scheme.averaged_names == ("WT", "TC", "ET")
    assert scheme.region_names == ("WT", "TC", "ET", "RC")


@pytest.mark.parametrize("name", BEFORE)
def test_schemes_of_version_0_1_are_identified_by_their_names(name: str) -> None:
    shipped, before = scheme_named(name), LabelScheme.named_before(name)
    assert shipped.key == before.key == name
    assert replace(shipped, cases=None).to_dict() == before.to_dict()
    assert LabelScheme.recorded({"convention": name}).to_dict() == before.to_dict()


@pytest.mark.parametrize(
    "changes",
    [
        {"tissues": {"ED": 2, "NCR": 1, "ET": 3}},
        {"tissues": {"NCR": 1, "ED": 2, "ET": 4}},  # the order is that of the stored labels
        {"tissues": {"ED": 2, "NCR": 1, "ET": [4, 5]}},
        {"regions": {"WT": ["ED", "NCR", "ET"], "TC": ["NCR", "ET"], "EN": ["ET"]}},
        {"regions": {"ET": ["ET"], "TC": ["NCR"], "WT": ["ED"]}},
        {"averaged": ["WT", "ET"]},
        {"name": "mine"},
    ],
)
def test_a_changed_scheme_has_another_key(changes: dict[str, Any]) -> None:
    changed = replace(scheme_named("brats2021"), **changes)
    assert json.dumps(changed.key) not in (json.dumps("brats2021"), json.dumps(GLI2024.key))
    assert changed.key == LabelScheme(**json.loads(json.dumps(changed.to_dict()))).key


def test_what_changes_no_score_changes_no_key() -> None:
    for scheme in (BRATS2021, GLI2024):
        assert replace(scheme, relabel={}, outside_inside=(), cases="ours_").key == scheme.key
        again = LabelScheme.of_key(json.loads(json.dumps(scheme.key)))
        assert again.key == scheme.key
        assert again.has_regions_of(scheme)


@pytest.mark.parametrize("name", REGIONS_OF_VALUE)
def test_a_scheme_returns_from_json_and_from_another_process(name: str) -> None:
    scheme = scheme_named(name)
    written = json.loads(json.dumps(scheme.to_dict()))
    assert LabelScheme(**written).to_dict() == scheme.to_dict() == written
    assert LabelScheme.recorded({"convention": "msd", "labels": written}).to_dict() == written
    scheme.encode(np.zeros((1, 1, 1)))  # with what is cached
    assert pickle.loads(pickle.dumps(scheme)).to_dict() == written


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"tissues": {}}, r"labels=mine needs tissues \(up to 30\) and regions"),
        ({"regions": {}}, "needs tissues"),
        ({"tissues": {f"T{i}": i for i in range(1, 32)}}, "needs tissues"),
        ({"tissues": {"A": 0, "B": 2}}, "must have values from 1 to 254"),
        ({"tissues": {"A": 255, "B": 2}}, "must have values from 1 to 254"),
        ({"tissues": {"A": [1.5], "B": 2}}, "must have values"),
        ({"tissues": {"A": True, "B": 2}}, "must have values"),
        ({"tissues": {"A": [1, "x"], "B": 2}}, "must have values"),
        ({"tissues": {"A": 2, "B": 2}}, r"tissues=\{'A': 2, 'B': 2\} gives a value to two tissues"),
        ({"tissues": {"A": [1, 2], "B": 2}}, "gives a value to two tissues"),
        ({"regions": {"all": ["A", "X"]}}, r"X is not a tissue of labels=mine \(A, B, C\)"),
        ({"relabel": {"X": "A"}}, "X is not a tissue"),
        ({"relabel": {"B": "X"}}, "X is not a tissue"),
        ({"outside_inside": ["A", "X"]}, "X is not a tissue"),
        ({"averaged": ["all", "x"]}, r"averaged: x is not a region of labels=mine \(all, b\)"),
        ({"regions": {"all": ["A", "B", "C"], "b": ["B"]}}, "regions: all leaves A and C to no region within it"),
        ({"regions": {"all": ["A", "B"], "a": ["A"], "b": ["B"]}}, "regions: all leaves no tissue to no region"),
        ({"regions": {"all": ["A", "B"], "same": ["A", "B"]}}, "leaves A and B to no region within it"),
        ({"regions": {"none": []}}, "regions: none leaves no tissue"),
        ({"regions": {"b": ["B"], "all": ["A", "B"]}}, "regions: b must come after all, which contains it"),
        ({"relabel": {"A": "B"}}, "must name one tissue that is a region of its own"),
        ({"relabel": {"B": "C"}}, r"relabel=\{'B': 'C'\} must name .*; every other region with B must contain C too"),
        ({"regions": {"a": ["A"], "b": ["B"]}, "relabel": {"A": "B", "B": "A"}}, "must name one tissue"),
        ({"cases": "BraTS("}, r"cases=BraTS\( is not a regular expression"),
    ],
)
def test_a_scheme_without_meaning_is_refused_in_one_sentence(changes: dict[str, Any], sentence: str) -> None:
    made()
    with pytest.raises(ValueError, match=sentence) as caught:
        made(**changes)
    assert "\n" not in str(caught.value)


def test_an_option_that_does_not_exist_names_a_similar_one() -> None:
    with pytest.raises(ConfigError, match=r"labels=brats_pedd does not exist; did you mean .*brats_ped\?"):
        scheme_named("brats_pedd")


def test_networks_of_one_scheme_predict_another_where_regions_mean_the_same() -> None:
    men, ped = scheme_named("brats_men"), scheme_named("brats_ped")
    assert BRATS2021.has_regions_of(LabelScheme.named_before("msd"))
    assert BRATS2021.has_regions_of(men)
    assert not GLI2024.has_regions_of(ped)
    assert not BRATS2021.has_regions_of(GLI2024)


def test_the_scheme_of_a_run_is_read_from_its_configuration() -> None:
    before = {"data": {"name": "x", "layout": "msd", "convention": "msd"}}
    assert LabelScheme.of_run(before).key == "msd"
    now = {"data": {}, "labels": {"_target_": "brats_ablate.labels.scheme.LabelScheme", **GLI2024.to_dict()}}
    assert LabelScheme.of_run(now).key == GLI2024.key


@pytest.mark.parametrize("scheme", [BRATS2021, GLI2024, MEN_RT], ids=lambda s: s.name)
def test_the_decoding_for_other_programs_gives_the_labels_of_files(scheme: LabelScheme) -> None:
    probabilities = np.random.default_rng(0).random((len(scheme.regions), 7, 8, 9))
    expected = scheme.decode(scheme.labels_from_probabilities(probabilities, [0.5] * len(scheme.regions)))
    claims = {row["region"]: p >= 0.5 for row, p in zip(scheme.decoding(), probabilities, strict=True)}
    labels = np.zeros((7, 8, 9), np.uint8)
    for row in scheme.decoding():
        labels[np.all([claims[name] for name in (row["region"], *row["within"])], axis=0)] = row["value"]
    np.testing.assert_array_equal(labels, expected)
