"""Signatures read from the source are those that Python itself reports."""

from __future__ import annotations

import inspect
import subprocess
import sys
from importlib import import_module

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
    found = signature_of(target)
    assert found is not None
    named = [p for p in expected if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)]
    assert [p.name for p in found.parameters] == [p.name for p in named]
    assert [p.required for p in found.parameters] == [p.default is p.empty for p in named]
    assert found.open_ended == any(p.kind == p.VAR_KEYWORD for p in expected)


def test_an_annotation_is_kept_as_it_is_written() -> None:
    found = signature_of("brats_ablate.transforms.crop.BiasedCrop")
    assert found is not None
    shape = found.get("shape")
    assert shape is not None
    assert shape.annotation == "list[int]"
    assert found.get("size") is None


@pytest.mark.parametrize("target", ["brats_ablate.models.unet.Unet", "brats_ablate.models.vnet.VNet"])
def test_a_name_of_ours_that_does_not_exist_is_an_error(target: str) -> None:
    with pytest.raises(LookupError):
        signature_of(target)


def test_what_cannot_be_read_is_left_to_the_constructor() -> None:
    assert signature_of("no_such_package.Model") is None
    assert signature_of("math.sqrt") is None  # compiled
    assert signature_of("json.JSONEncoder") is None  # imported there from another module


def test_a_dataclass_inherits_its_parents_fields(tmp_path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "family.py").write_text(
        "from dataclasses import dataclass\n"
        "@dataclass\nclass Parent:\n    a: int\n"
        "@dataclass\nclass Child(Parent):\n    b: float = 1.0\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    found = signature_of("family.Child")
    assert found is not None
    assert [(p.name, p.annotation, p.required) for p in found.parameters] == [("a", "int", True), ("b", "float", False)]


def test_reading_a_signature_imports_nothing_of_it() -> None:
    program = (
        "import sys; from brats_ablate.config.signatures import signature_of\n"
        "signature_of('brats_ablate.models.unet.UNet'); signature_of('torch.optim.Adam')\n"
        "print('torch' in sys.modules or 'brats_ablate.models' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
