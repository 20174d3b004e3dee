"""The U-Net against the paper's parameter counts and itself under another layout or with checkpointing.

test_external.py compares it with MONAI's.
"""

from __future__ import annotations

import pytest
import torch
from torch import nn

from brats_ablate.errors import ConfigError
from brats_ablate.models.dropblock import DropBlock3d
from brats_ablate.models.norm import InstanceNorm

THIN = [8, 16, 24, 32]


def millions(model: nn.Module) -> float:
    return round(sum(p.numel() for p in model.parameters()) / 1e6, 2)


@pytest.mark.parametrize(
    ("model", "encoder", "in_channels", "heads", "expected"),
    [
        ("unet", "depth6", 4, 3, 31.19),
        ("unet", "depth7", 4, 3, 45.84),
        ("unet", "channels6", 4, 1, 24.93),
        ("unet", "channels7", 5, 3, 50.84),
        ("attention_as_released", "depth6", 4, 1, 36.32),
        ("residual_as_released", "depth6", 4, 1, 37.34),
    ],
)
def test_parameter_counts_are_the_papers(build, model, encoder, in_channels, heads, expected):
    with torch.device("meta"):
        assert millions(build(model, encoder, in_channels=in_channels, n_heads=heads)) == expected


@pytest.mark.parametrize(("model", "expected"), [("unet", 31_192_617), ("unet_as_released", 31_193_417)])
def test_the_released_network_has_biases_on_its_transposed_convolutions(build, model, expected):
    with torch.device("meta"):
        assert sum(p.numel() for p in build(model, n_heads=3).parameters()) == expected


def test_channels_last_goes_through_and_comes_out_with_the_same_numbers(build):
    model = build("unet", channels=THIN, n_heads=2, patch_shape=(16, 24, 32))
    x = torch.randn(2, 4, 16, 24, 32)
    expected = model(x).logits
    layouts = []
    for layer in [*model.encoder.modules(), *model.decoder.modules()]:
        if isinstance(layer, nn.Conv3d | nn.ConvTranspose3d | InstanceNorm):
            layer.register_forward_hook(
                lambda _, given, out: layouts.append(
                    (given[0].is_contiguous(memory_format=torch.channels_last_3d),
                     out.is_contiguous(memory_format=torch.channels_last_3d))
                )
            )  # fmt: skip
    model.to(memory_format=torch.channels_last_3d)
    logits = model(x.to(memory_format=torch.channels_last_3d)).logits
    assert layouts
    assert set(layouts) == {(True, True)}
    for own, other in zip(logits, expected, strict=True):
        torch.testing.assert_close(own, other, rtol=1e-4, atol=1e-4)


def test_checkpointing_changes_no_gradient_though_dropblock_draws(build):
    def gradients(checkpointing: bool) -> list[torch.Tensor]:
        torch.manual_seed(1)
        model = build("dropblock", channels=THIN, patch_shape=(16, 16, 24), checkpointing=checkpointing)
        model.set_step(10_000)
        model(x).logits[0].square().mean().backward()
        return [p.grad for p in model.parameters()]

    x = torch.randn(1, 4, 16, 16, 24)
    for plain, recomputed in zip(gradients(False), gradients(True), strict=True):
        assert torch.equal(plain, recomputed)


def test_drop_sits_in_the_three_deepest_encoder_levels_before_each_norm(build):
    model = build("dropblock", channels=[8] * 5, patch_shape=(32, 32, 32))
    dropping = [i for i, level in enumerate(model.encoder) if any(isinstance(m, DropBlock3d) for m in level.modules())]
    assert dropping == [2, 3, 4]
    assert not any(isinstance(m, DropBlock3d) for m in model.decoder.modules())
    for i in dropping:
        layers = [m for m in model.encoder[i].modules() if isinstance(m, nn.Conv3d | DropBlock3d | InstanceNorm)]
        assert [type(m) for m in layers] == [nn.Conv3d, DropBlock3d, InstanceNorm] * 2


def test_as_released_drop_sits_in_the_last_encoder_level_and_the_bottleneck(build):
    model = build("dropblock_as_released", channels=[8] * 6, patch_shape=(64, 64, 64))
    dropping = [i for i, level in enumerate(model.encoder) if any(isinstance(m, DropBlock3d) for m in level.modules())]
    assert dropping == [4, 5]


def test_a_negative_number_of_dropping_stages_is_refused(build):
    with pytest.raises(ConfigError, match=r"model\.drop_stages=-1 must be 0 or more"):
        build("dropblock", channels=THIN, drop_stages=-1)


def test_residual_blocks_drop_too(build):
    """The paper's code never advanced the schedule of DropBlock in residual blocks."""
    drop = {"_target_": "brats_ablate.models.dropblock.DropBlock3d", "_partial_": True}
    settings = {"block_size": 5, "probability": 0.2, "ramp_steps": 10}
    model = build("residual", channels=THIN, patch_shape=(16, 16, 16), drop=drop | settings)
    model.set_step(5)
    drops = [m for m in model.modules() if isinstance(m, DropBlock3d)]
    assert len(drops) == 9
    assert [float(m.drop_probability) for m in drops] == pytest.approx([0.1] * 9)


def test_blocks_per_level_repeats_its_last_number(build):
    model = build("resenc", channels=[8] * 5, patch_shape=(32, 32, 32), blocks_per_level=[1, 3])
    assert [len(level) for level in model.encoder] == [1, 3, 3, 3, 3]


def test_kaiming_weights(build):
    model = build("unet", channels=[32, 64, 128], patch_shape=(8, 8, 8))
    gain = (2 / (1 + 0.01**2)) ** 0.5
    weight = model.encoder[2][0][1][0].weight
    assert weight.std().item() == pytest.approx(gain / (128 * 27) ** 0.5, rel=0.01)


def test_the_released_transposed_convolutions_keep_the_initialization_of_torch(build):
    upsample = build("unet_as_released", channels=[32, 64, 128], patch_shape=(8, 8, 8)).decoder[1].upsample
    kaiming = build("unet", channels=[32, 64, 128], patch_shape=(8, 8, 8)).decoder[1].upsample
    bound = (64 * 8) ** -0.5  # torch's: uniform within the root of the reciprocal fan-in, weights and biases
    for drawn in (upsample.weight, upsample.bias):
        assert 0.9 * bound < drawn.abs().max().item() <= bound
    assert kaiming.bias is None
    assert (kaiming.weight.std() / upsample.weight.std()).item() == pytest.approx(6**0.5, rel=0.02)


@pytest.mark.parametrize("patch_shape", [(16, 16, 20), (24, 12, 16)])
def test_a_patch_that_does_not_fit_the_depth_is_refused(build, patch_shape):
    with pytest.raises(ConfigError, match=r"not divisible by \[8, 8, 8\]"):
        build("unet", channels=THIN, patch_shape=patch_shape)


def test_more_heads_than_decoder_levels_are_refused(build):
    with pytest.raises(ConfigError, match="3 heads"):
        build("unet", channels=[8, 16, 24], n_heads=3, patch_shape=(16, 16, 16))


def test_one_voxel_at_the_bottom_is_refused(build):
    model = build("unet", channels=THIN, patch_shape=(8, 8, 8))
    with pytest.raises(ConfigError, match="one voxel"):
        model(torch.randn(1, 4, 8, 8, 8))


@pytest.mark.slow
@pytest.mark.parametrize("model", ["unet", "dropblock", "dropblock_as_released", "attention", "residual"])
def test_traced_as_one_graph_that_a_new_step_does_not_retrace(build, model):
    graphs = []

    def count(graph: torch.fx.GraphModule, _: list[torch.Tensor]) -> torch.fx.GraphModule:
        graphs.append(graph)
        return graph

    network = build(model, channels=THIN, patch_shape=(16, 16, 24))
    compiled = torch.compile(network, backend=count, fullgraph=True)
    x = torch.randn(2, 4, 16, 16, 24)
    for step in (0, 5_000, 10_000):
        network.set_step(step)
        compiled(x).logits[0].sum().backward()
    assert len(graphs) == 1
