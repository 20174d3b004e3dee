from __future__ import annotations

import itertools
import time
from typing import Any

import pytest

from brats_ablate.config.design import Design, combination_name
from brats_ablate.errors import ConfigError

FACTORS: dict[str, Any] = {
    "deeper": {"encoder": "depth7"},
    "channels": {"encoder": "channels6"},
    "onehot": {"inputs": "onehot"},
}
TOGETHER = {"deeper_channels": {"encoder": "channels7"}}


def design(kind: str, **changes: Any) -> Design:
    return Design.from_config({"kind": kind, "title": None, "factors": FACTORS, "together": TOGETHER, **changes})


def test_combinations_of_each_kind() -> None:
    assert design("one_at_a_time").combinations == [(), ("deeper",), ("channels",), ("onehot",)]
    left_out = [tuple(FACTORS), ("deeper", "channels"), ("deeper", "onehot"), ("channels", "onehot")]
    assert design("leave_one_out").combinations == left_out
    powers = [
        tuple(f for f, is_on in zip(FACTORS, bits, strict=True) if is_on)
        for bits in itertools.product((0, 1), repeat=3)
    ]
    assert set(design("full").combinations) == set(powers)
    assert len(design("full").combinations) == 8


def test_the_reference_comes_first() -> None:
    assert [design(kind).reference for kind in ("one_at_a_time", "leave_one_out", "full")] == [(), tuple(FACTORS), ()]


def test_factors_that_meet_in_a_group_set_what_the_combination_names() -> None:
    full = design("full")
    assert full.overrides(("deeper",)) == {"encoder": "depth7"}
    assert full.overrides(("deeper", "channels", "onehot")) == {"encoder": "channels7", "inputs": "onehot"}
    assert full.overrides(()) == {}


def test_the_largest_combination_decides() -> None:
    factors = {name: {"inputs.modalities": [name]} for name in ("a", "b", "c")}
    pairs = {f"{x}_{y}": {"inputs.modalities": [x, y]} for x, y in itertools.combinations("abc", 2)}
    of_all = {"a_b_c": {"inputs.modalities": ["a", "b", "c"]}}
    full = design("full", factors=factors, together={**of_all, **pairs})
    assert full.overrides(("a", "c")) == {"inputs.modalities": ["a", "c"]}
    assert full.overrides(("a", "b", "c")) == {"inputs.modalities": ["a", "b", "c"]}
    with pytest.raises(ConfigError, match=r"factors a, b, c set inputs.modalities differently"):
        design("full", factors=factors, together=pairs)


def test_many_factors_are_read_at_once() -> None:
    factors = {f"f_{i}": {f"key{i}": 1} for i in range(25)}
    started = time.process_time()
    made = design("one_at_a_time", factors=factors, together={"f_3_f_20": {"key3": 2}, "_".join(factors): {"key3": 3}})
    assert time.process_time() - started < 1  # there are 1.8 million combinations of up to 8 of them
    assert made.overrides(("f_3", "f_20")) == {"key3": 2, "key20": 1}
    assert set(made.together) == {frozenset(("f_3", "f_20")), frozenset(factors)}


def test_a_name_that_contains_anothers_is_split_in_every_way() -> None:
    factors = {name: {"x": name} for name in ("a", "a_b", "b", "c")}
    made = design("one_at_a_time", factors=factors, together={"a_b_c": {"x": 1}, "a_b_b": {"x": 2}})
    assert made.overrides(("a", "b", "c")) == {"x": 1}
    assert made.overrides(("a_b", "b")) == {"x": 2}


def test_nested_keys_are_dotted() -> None:
    nested = design("one_at_a_time", factors={"wide": {"encoder": {"width": 2.0}, "loss": "focal_dice"}}, together={})
    assert nested.overrides(("wide",)) == {"encoder.width": 2.0, "loss": "focal_dice"}


def test_equal_values_need_no_combination() -> None:
    factors = {"a": {"inputs": "onehot", "loss": "focal_dice"}, "b": {"inputs": "onehot"}}
    assert design("full", factors=factors, together={}).overrides(("a", "b")) == {
        "inputs": "onehot",
        "loss": "focal_dice",
    }


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"kind": "all"}, "design.kind=all is unknown; choose one of one_at_a_time, leave_one_out, full"),
        ({"kind": None}, "design.factors has no design; add design="),
        ({"factor": {}}, "design.factor is not a known key; did you mean design.factors?"),
        ({"factors": {}, "together": {}}, "design=full needs 1 factor or more"),
        ({"kind": "leave_one_out", "factors": {"a": {"x": 1}}, "together": {}}, "design=leave_one_out needs 2 factors"),
        ({"factors": {f"f{i}": {f"k{i}": 1} for i in range(9)}, "together": {}}, "takes up to 8 factors"),
        ({"factors": {"a/b": {"x": 1}}, "together": {}}, "design.factors.a/b: runs are named by it"),
        ({"factors": {"a": "onehot"}, "together": {}}, "design.factors.a=onehot must be a set of overrides"),
        (
            {"together": {"channels_deeper": {"encoder": "x"}}},
            "combination of factors in their order; write deeper_channels",
        ),
        ({"together": {}}, "the factors deeper, channels set encoder differently"),
        (
            {"factors": {"a": {"x": 1}, "b": {"y": 1}, "a_b": {"z": 1}}, "together": {}},
            "two combinations of design.factors have the name a_b",
        ),
    ],
)
def test_a_wrong_design_is_one_sentence(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence.replace("(", r"\(")):
        design(**{"kind": "full", **changes})


def test_no_design() -> None:
    assert Design.from_config({"kind": None, "title": None, "factors": {}, "together": {}}) is None
    assert Design.from_config({}) is None


def test_columns_say_what_is_on_or_left_out() -> None:
    assert design("full").title_of(("deeper", "onehot"), "ds") == "deeper + onehot"
    assert design("full").title_of((), "ds") == "ds"
    left_out = design("leave_one_out")
    assert [left_out.title_of(on, "ds") for on in left_out.combinations[:2]] == ["all", "without onehot"]


def test_a_design_on_an_experiment_has_the_names_of_the_papers_experiments() -> None:
    assert combination_name("ds", ("deeper",)) == "ds_deeper"
    assert combination_name("ds", tuple(FACTORS)) == "ds_deeper_channels_onehot"
    assert combination_name("default", ("onehot",)) == "onehot"
    assert combination_name("default", ()) == "default"
