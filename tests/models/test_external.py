"""Networks that are not `SegmentationModel`s, built as a job builds them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from omegaconf import DictConfig, OmegaConf

from brats_ablate.config.check import check
from brats_ablate.errors import ConfigError
from brats_ablate.jobs.build import build_model
from brats_ablate.models.external import ExternalModel
from brats_ablate.models.norm import InstanceNorm

Composition = Callable[..., DictConfig]

MONAI_UNET = {"_target_": "monai.networks.nets.UNet", "spatial_dims": 3, "channels": [8, 16], "strides": [2]}
OWN = """
import torch
from torch import nn


class Plain(nn.Module):
    size_divisor = (2, 2, 2)

    def __init__(self, in_channels, out_channels, width):
        super().__init__()
        self.layers = nn.Sequential(nn.Conv3d(in_channels, width, 1), nn.InstanceNorm3d(width), nn.Conv3d(width, out_channels, 1))

    def forward(self, x):
        return self.layers(x)


class Passes(Plain):
    def __init__(self, **kwargs):
        super().__init__(width=4, **kwargs)


class Supervised(Plain):
    supports_deep_supervision = True

    def __init__(self, in_channels, out_channels):
        super().__init__(in_channels, out_channels, 4)

    def forward(self, x):
        finest = super().forward(x)
        return [finest, finest[..., ::2, ::2, ::2]]


class Confused(Plain):
    def forward(self, x):
        return {"logits": x}


def factory(in_channels, out_channels):
    return Plain(in_channels, out_channels, 2)


def no_network(in_channels):
    return in_channels
"""


@pytest.fixture
def with_model(composition: Composition, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., DictConfig]:
    """Return a function that composes a checked configuration with this model node."""
    (tmp_path / "own_networks.py").write_text(OWN)
    monkeypatch.syspath_prepend(str(tmp_path))

    def make(node: dict[str, object], *overrides: str) -> DictConfig:
        cfg = composition("patches.shape=[16,16,8]", "encoder.channels=[8,16,16]", *overrides)
        cfg.model = OmegaConf.create(node)
        check(cfg)
        return cfg

    return make


@pytest.mark.parametrize(
    ("node", "divisor"),
    [
        (MONAI_UNET, (1, 1, 1)),
        ({"_target_": "own_networks.Plain", "width": 4}, (2, 2, 2)),
        ({"_target_": "own_networks.Passes"}, (2, 2, 2)),
        ({"_target_": "own_networks.factory"}, (1, 1, 1)),
    ],
)
def test_a_foreign_network_gets_the_channels_and_returns_logits(
    with_model: Callable[..., DictConfig], node: dict[str, object], divisor: tuple[int, ...]
) -> None:
    cfg = with_model(node, "inputs=onehot")
    model = build_model(cfg)
    output = model(torch.randn(1, 5, 16, 16, 8))
    assert [tuple(head.shape) for head in output.logits] == [(1, 3, 16, 16, 8)]
    assert output.aux == {}
    assert model.size_divisor == divisor
    repeated = build_model(cfg).state_dict()
    assert all(torch.equal(value, repeated[name]) for name, value in model.state_dict().items())


def test_several_tensors_are_heads(with_model: Callable[..., DictConfig]) -> None:
    cfg = with_model({"_target_": "own_networks.Supervised"}, "supervision=deep", "supervision.weights=[1,1]")
    assert len(build_model(cfg)(torch.randn(1, 4, 16, 16, 8)).logits) == 2


def test_norms_are_replaced_and_the_divisor_is_set_on_request(with_model: Callable[..., DictConfig]) -> None:
    plain = {"_target_": "own_networks.Plain", "width": 4}
    explicit = {
        "_target_": "brats_ablate.models.external.ExternalModel",
        "network": plain | {"_partial_": True},
        "size_divisor": [4, 4, 8],
        "replace_norms": True,
    }
    kept, changed = build_model(with_model(plain)), build_model(with_model(explicit))
    assert not any(isinstance(m, InstanceNorm) for m in kept.modules())
    assert any(isinstance(m, InstanceNorm) for m in changed.modules())
    assert changed.size_divisor == (4, 4, 8)
    with pytest.raises(ConfigError, match=r"not divisible by \[4, 4, 16\], as ExternalModel needs"):
        with_model(explicit | {"size_divisor": [4, 4, 16]})


def test_what_is_no_network_is_refused(with_model: Callable[..., DictConfig]) -> None:
    with pytest.raises(ConfigError, match=r"model: no_network constructs a int, not a torch.nn.Module"):
        build_model(with_model({"_target_": "own_networks.no_network"}))
    model = build_model(with_model({"_target_": "own_networks.Confused", "width": 2}))
    with pytest.raises(ConfigError, match="model: Confused returns dict; it must return logits"):
        model(torch.randn(1, 4, 16, 16, 8))
    with pytest.raises(ConfigError, match=r"model.in_channels is set by the job"):
        with_model(MONAI_UNET | {"in_channels": 4})
    with pytest.raises(ConfigError, match=r"model.channels is missing; monai.networks.nets.UNet needs it"):
        with_model({"_target_": "monai.networks.nets.UNet", "spatial_dims": 3, "strides": [2]})


def test_the_adapter_is_a_segmentation_model_of_any_module() -> None:
    model = ExternalModel(torch.nn.Identity, (4, 5, 6))
    x = torch.randn(1, 4, 4, 5, 6)
    assert torch.equal(model(x).logits[0], x)
