"""Networks that are not `SegmentationModel`s, built as a job builds them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from monai.networks import nets
from omegaconf import DictConfig, OmegaConf

from brats_ablate.config.check import check, resolve
from brats_ablate.errors import ConfigError
from brats_ablate.jobs.build import build_model
from brats_ablate.models.norm import InstanceNorm
from brats_ablate.runtime.random import derive_seed

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


class Named(nn.Module):
    def __init__(self, ins, outs, shape, deep, lower):
        super().__init__()
        self.named = (ins, outs, shape, deep, lower)
        self.conv = nn.Conv3d(ins, outs, 1)

    def forward(self, x):
        y = self.conv(x)
        return [y] * (self.named[-1] + 1)


class TwoHeads(nn.Module):
    def __init__(self, in_channels, out_channels):
        super().__init__()
        self.first, self.second = nn.Conv3d(in_channels, out_channels, 1), nn.Conv3d(in_channels, out_channels, 1)

    def forward(self, x):
        return self.first(x), self.second(x)


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
        (MONAI_UNET, (2, 2, 2)),
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


def test_a_direct_class_is_checked_like_a_network_of_model_external(with_model: Callable[..., DictConfig]) -> None:
    with pytest.raises(ConfigError, match=r"model: no_network constructs a int, not a torch.nn.Module"):
        build_model(with_model({"_target_": "own_networks.no_network"}))
    with pytest.raises(ConfigError, match="model: Confused returns dict with logits; it must return logits"):
        build_model(with_model({"_target_": "own_networks.Confused", "width": 2}))
    with pytest.raises(ConfigError, match=r"model.in_channels is set by the job"):
        with_model(MONAI_UNET | {"in_channels": 4})
    with pytest.raises(ConfigError, match=r"model.channels is missing; monai.networks.nets.UNet needs it"):
        with_model({"_target_": "monai.networks.nets.UNet", "spatial_dims": 3, "strides": [2]})


def test_the_initial_weights_are_those_of_the_network_itself(with_model: Callable[..., DictConfig]) -> None:
    cfg = with_model(MONAI_UNET)
    torch.manual_seed(derive_seed(int(cfg.seed), "weights"))
    expected = nets.UNet(3, 4, 3, [8, 16], [2]).state_dict()
    built = build_model(cfg).network.state_dict()
    assert all(torch.equal(value, built[name]) for name, value in expected.items())


def of_yaml(node: dict[str, object]) -> dict[str, object]:
    return {"_target_": "brats_ablate.models.external.ExternalModel", "network": node | {"_partial_": True}}


def test_values_of_other_groups_are_filled_in_where_they_are_named(with_model: Callable[..., DictConfig]) -> None:
    node = {"_target_": "own_networks.Named", "ins": "${channels:}", "outs": "${regions:}", "shape": "${patch:}"}
    node |= {"deep": "${deep:}", "lower": "${lower_heads:}"}
    network = build_model(with_model(of_yaml(node), "inputs=onehot")).network
    assert network.named == (5, 3, [16, 16, 8], False, 0)
    cfg = with_model(of_yaml(node), "supervision=deep", "labels=brats2024_gli", "inputs.modalities=[t1]")
    assert build_model(cfg).network.named == (1, len(cfg.labels.regions), [16, 16, 8], True, 2)
    assert resolve(cfg)["model"]["network"]["ins"] == 1, "a run records the value"
    for key, value in {"in_channels": 4, "out_channels": "${regions:}"}.items():
        build_model(with_model(of_yaml(MONAI_UNET | {key: value})))


def test_heads_beyond_the_supervised_ones_are_left_out_and_frozen(with_model: Callable[..., DictConfig]) -> None:
    model = build_model(with_model(of_yaml({"_target_": "own_networks.TwoHeads"})))
    assert len(model(torch.randn(1, 4, 16, 16, 8)).logits) == 1
    assert {name for name, p in model.named_parameters() if not p.requires_grad} == {
        "network.second.weight",
        "network.second.bias",
    }


@pytest.mark.parametrize("supervision", ["none", "deep"])
def test_dynunet_with_our_weights_computes_our_logits(composition: Composition, supervision: str) -> None:
    small = ["patches.shape=[16,16,24]", "encoder.channels=[4,6,8,10]", f"supervision={supervision}"]
    ours = build_model(composition(*small))
    lists = {
        "filters": "[4,6,8,10]",
        "kernel_size": "[3,3,3,3]",
        "strides": "[1,2,2,2]",
        "upsample_kernel_size": "[2,2,2]",
    }
    cfg = composition(*small, "model=dynunet", *(f"model.network.{key}={value}" for key, value in lists.items()))
    check(cfg)
    theirs = build_model(cfg)
    assert theirs.size_divisor == ours.size_divisor == (8, 8, 8)
    for parameter in ours.parameters():  # norms and biases too, so that none is a 0 or a 1 that hides a mistake
        torch.nn.init.normal_(parameter, std=0.1)
    copy_unet(ours, theirs.network)
    x = torch.randn(2, 4, 16, 16, 24)
    expected, found = ours.train()(x).logits, theirs.train()(x).logits
    for i, (head, other) in enumerate(zip(expected, found, strict=True)):  # MONAI repeats the voxels of lower heads
        torch.testing.assert_close(other, F.interpolate(head, scale_factor=2**i), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(theirs.eval()(x).logits[0], ours.eval()(x).logits[0], atol=1e-5, rtol=1e-4)


def copy_unet(ours: torch.nn.Module, dynunet: nets.DynUNet) -> None:
    """Copy the weights of our U-Net, whose parameters come in the order of MONAI's blocks."""
    heads = [dynunet.output_block, *(dynunet.deep_supervision_heads if dynunet.deep_supervision else [])]
    encoder = [dynunet.input_block, *dynunet.downsamples, dynunet.bottleneck]
    pairs = [*zip(ours.encoder, encoder, strict=True), *zip(ours.heads, heads, strict=True)]
    for stage, block in zip(ours.decoder, reversed(dynunet.upsamples), strict=True):
        pairs += [(stage.upsample, block.transp_conv), (stage.block, block.conv_block)]
    for source, target in pairs:
        convolutions = [[m for m in each.modules() if hasattr(m, "stride")] for each in (source, target)]
        norms = [[m for m in each.modules() if isinstance(m, InstanceNorm)] for each in (source, target)]
        for a, b in (*zip(*convolutions, strict=True), *zip(*norms, strict=True)):
            b.load_state_dict(a.state_dict())


@pytest.mark.slow
@pytest.mark.parametrize("option", ["nnunet", "nnunet_resenc"])
def test_nnunet_starts_as_nnunet_does(composition: Composition, option: str) -> None:
    unet = pytest.importorskip("dynamic_network_architectures.architectures.unet")
    lists = {"n_stages": "3", "features_per_stage": "[4,6,8]", "strides": "[1,2,2]"}
    if option == "nnunet_resenc":
        lists["n_blocks_per_stage"] = "[1,1,1]"
    small = ["patches.shape=[16,16,24]", *(f"model.network.{key}={value}" for key, value in lists.items())]
    cfg = composition(*small, f"model={option}", "supervision=deep", "supervision.weights=[1,0.5]")
    check(cfg)
    model = build_model(cfg)
    assert model.size_divisor == (4, 4, 4)
    assert [list(head.shape[2:]) for head in model(torch.randn(1, 4, 16, 16, 24)).logits] == [[16, 16, 24], [8, 8, 12]]
    assert all(p.requires_grad for p in model.parameters())
    arguments = build_arguments(cfg)
    torch.manual_seed(derive_seed(int(cfg.seed), "weights"))
    expected = getattr(unet, {"nnunet": "PlainConvUNet", "nnunet_resenc": "ResidualEncoderUNet"}[option])(**arguments)
    expected.apply(expected.initialize)
    x = torch.randn(1, 4, 16, 16, 24)
    torch.testing.assert_close(model(x).logits, expected(x), atol=1e-5, rtol=1e-4)


def build_arguments(cfg: DictConfig) -> dict[str, object]:
    """Return the arguments of nnU-Net's class in plain Python."""
    plain = {key: value for key, value in resolve(cfg)["model"]["network"].items() if not key.startswith("_")}
    classes = {"conv_op": torch.nn.Conv3d, "norm_op": torch.nn.InstanceNorm3d, "nonlin": torch.nn.LeakyReLU}
    assert {key: plain[key]["path"] for key in classes} == {k: f"torch.nn.{v.__name__}" for k, v in classes.items()}
    return plain | classes


def test_initialization_needs_the_method(with_model: Callable[..., DictConfig]) -> None:
    with pytest.raises(ConfigError, match=r"model\.initialize=true, but UNet has no method initialize"):
        build_model(with_model(of_yaml(MONAI_UNET) | {"initialize": True}))
