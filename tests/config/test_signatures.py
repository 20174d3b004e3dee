"""Signatures read from the source are those that `inspect` reports."""

from __future__ import annotations

import inspect
from importlib import import_module
from pathlib import Path

import pytest

from brats_ablate.config.signatures import signature_of

TARGETS = [
    "brats_ablate.models.unet.UNet",
    "brats_ablate.models.attention_gate.NoGate",
    "brats_ablate.models.dropblock.DropBlock3d",
    "brats_ablate.models.encoder.EncoderConfig",
    "brats_ablate.training.settings.TrainerSettings",
    "brats_ablate.transforms.crop.BiasedCrop",
    "brats_ablate.losses.deep_supervision.DeepSupervisionAsReleased",
    "brats_ablate.transforms.compose.Compose",
    "brats_ablate.jobs.prepare.run",
    "brats_ablate.tracking.wandb.WandbTracker",
]


@pytest.mark.parametrize("target", TARGETS)
def test_agrees_with_inspect(target: str) -> None:
    module, _, name = target.rpartition(".")
    expected = inspect.signature(getattr(import_module(module), name)).parameters.values()
    signature = signature_of(target)
    named = [p for p in expected if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)]
    assert [p.name for p in signature.parameters] == [p.name for p in named]
    assert [p.required for p in signature.parameters] == [p.default is p.empty for p in named]
    assert signature.open_ended == any(p.kind == p.VAR_KEYWORD for p in expected)


def test_an_annotation_is_kept_as_it_is_written() -> None:
    signature = signature_of("brats_ablate.transforms.crop.BiasedCrop")
    shape = signature.get("shape")
    assert shape.annotation == "list[int]"
    assert signature.get("size") is None


@pytest.mark.parametrize("target", ["brats_ablate.models.unet.Unet", "brats_ablate.models.vnet.VNet"])
def test_a_name_of_the_package_that_does_not_exist_is_an_error(target: str) -> None:
    with pytest.raises(LookupError):
        signature_of(target)


def test_what_cannot_be_read_is_none() -> None:
    assert signature_of("no_such_package.Model") is None
    assert signature_of("math.sqrt") is None  # compiled


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("torch.optim.SGD", ["params", "lr", "momentum"]),  # imported by the package
        ("monai.networks.nets.UNet", ["spatial_dims", "in_channels", "out_channels"]),
        ("torch.nn.BCEWithLogitsLoss", ["weight", "size_average", "reduce"]),  # by a star import
        ("json.JSONEncoder", ["skipkeys", "ensure_ascii", "check_circular"]),
    ],
)
def test_a_name_is_followed_to_where_it_is_defined(target: str, expected: list[str]) -> None:
    signature = signature_of(target)
    assert [p.name for p in signature.parameters][: len(expected)] == expected


FAMILY = """
from dataclasses import dataclass, field
from typing import ClassVar

import brats_ablate.models.unet as networks
from brats_ablate.models.unet import UNet
from unknown_package import Mystery


@dataclass
class Parent:
    a: int
    kind: ClassVar[str] = "x"
    cache: list = field(default_factory=list, init=False)


@dataclass
class Child(Parent):
    b: float = 1.0
    c: list = field(default_factory=list)


class Inherits(UNet):
    pass


class ByModule(networks.UNet):
    pass


class Adds(UNet):
    def __init__(self, extra: int, **kwargs):
        super().__init__(**kwargs)


class Unknown(Mystery):
    pass


Alias = Inherits
made = type("made", (), {})
"""


@pytest.fixture
def family(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "family.py").write_text(FAMILY)
    (tmp_path / "house").mkdir()
    (tmp_path / "house" / "__init__.py").write_text("from .rooms import *\nfrom ..family import Parent as Renamed\n")
    (tmp_path / "house" / "rooms.py").write_text("class Room:\n    def __init__(self, door): ...\n")
    monkeypatch.syspath_prepend(str(tmp_path))


@pytest.mark.usefixtures("family")
def test_a_dataclass_inherits_its_parents_fields() -> None:
    signature = signature_of("family.Child")
    assert [(p.name, p.annotation, p.required) for p in signature.parameters] == [
        ("a", "int", True), ("b", "float", False), ("c", "list", False),
    ]  # fmt: skip


@pytest.mark.usefixtures("family")
@pytest.mark.parametrize("target", ["family.Inherits", "family.ByModule", "family.Alias"])
def test_a_constructor_is_inherited_from_another_module(target: str) -> None:
    assert signature_of(target) == signature_of("brats_ablate.models.unet.UNet")


@pytest.mark.usefixtures("family")
def test_arguments_that_are_passed_on_are_accepted_and_not_required() -> None:
    signature = signature_of("family.Adds")
    assert signature.open_ended
    assert signature.parameters[0].required
    gate = signature.get("gate")
    assert not gate.required


@pytest.mark.usefixtures("family")
@pytest.mark.parametrize("target", ["family.Unknown", "family.made", "family.Mystery"])
def test_what_is_defined_dynamically_or_elsewhere_is_none(target: str) -> None:
    assert signature_of(target) is None


@pytest.mark.usefixtures("family")
def test_relative_and_star_imports_of_a_package() -> None:
    room = signature_of("house.Room")
    assert [p.name for p in room.parameters] == ["door"]
    with pytest.raises(LookupError, match="family has no Chidl"):
        signature_of("family.Chidl")
