from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from brats_ablate.models import kernels
from brats_ablate.models.attention_gate import AttentionGate, NoGate
from brats_ablate.models.blocks import ConvBlock, ResidualBlock
from brats_ablate.models.kernels import fused_upsample_conv
from brats_ablate.models.unet import DecoderStage
from brats_ablate.models.upsample import Upsample, UpsampleAsReleased
from brats_ablate.runtime import threads


def unfused(coarse: Tensor, skip: Tensor, upsampling: Tensor, weight: Tensor) -> Tensor:
    upsampled = F.conv_transpose3d(coarse, upsampling, stride=2)
    return F.conv3d(torch.cat((upsampled, skip), 1), weight, padding=1)


def operands(
    kind: torch.dtype, layout: torch.memory_format, shape: tuple[int, int, int] = (3, 4, 5), batch: int = 2
) -> list[Tensor]:
    """Coarse map of 6 channels, skip of 5, weights of an upsampling to 4 and of a convolution to 7."""
    generator = torch.Generator().manual_seed(1)
    fine = tuple(2 * n for n in shape)
    shapes = ((batch, 6, *shape), (batch, 5, *fine), (6, 4, 2, 2, 2), (7, 9, 3, 3, 3))
    return [
        torch.randn(s, generator=generator, dtype=torch.float64).to(kind).to(memory_format=layout).requires_grad_()
        for s in shapes
    ]


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last_3d])
@pytest.mark.parametrize("shape", [(3, 4, 5), (1, 1, 1), (2, 7, 3)])
def test_numbers_and_gradients_are_those_of_the_two_layers(
    layout: torch.memory_format, shape: tuple[int, int, int]
) -> None:
    given = operands(torch.float64, layout, shape)
    expected, fused = unfused(*given), fused_upsample_conv.upsample_and_convolve(*given)
    torch.testing.assert_close(fused, expected, rtol=1e-12, atol=1e-12)
    towards = torch.randn_like(expected)
    for gradient, reference in zip(
        torch.autograd.grad(fused, given, towards), torch.autograd.grad(expected, given, towards), strict=True
    ):
        torch.testing.assert_close(gradient, reference, rtol=1e-11, atol=1e-11)


def test_layout_is_kept() -> None:
    fused = fused_upsample_conv.upsample_and_convolve(*operands(torch.float32, torch.channels_last_3d))
    assert fused.is_contiguous(memory_format=torch.channels_last_3d)


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("shape", [(3, 4, 5), (1, 1, 1), (2, 7, 3)])
def test_compiled_loops_add_and_gather_as_torch_does(
    shape: tuple[int, int, int], batch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator = torch.Generator().manual_seed(1)
    spatial, around = tuple(2 * n for n in shape), tuple(n + 1 for n in shape)
    fine, sub_voxels, towards = (
        torch.randn(batch, channels, *of, generator=generator).bfloat16().to(memory_format=torch.channels_last_3d)
        for channels, of in ((7, spatial), (56, around), (7, spatial))
    )

    def outcome() -> tuple[Tensor, ...]:
        given = [fine.clone().requires_grad_(), sub_voxels.clone().requires_grad_()]
        total = fused_upsample_conv.AddSubVoxels.apply(given[0] * 1, given[1])
        return (total, *torch.autograd.grad(total, given, towards))

    uses_loops = fused_upsample_conv.supports_numba(fine, sub_voxels)
    compiled = outcome()
    monkeypatch.setattr(fused_upsample_conv, "supports_numba", lambda *_: False)
    assert uses_loops is threads.available()
    for value, reference in zip(compiled, outcome(), strict=True):
        assert torch.equal(value, reference)


def test_mixed_precision_loses_no_more_than_the_two_layers_do() -> None:
    """Against float64, output and gradients; the fused form rounds the weights' product, the other the upsampled map."""
    exact = operands(torch.float64, torch.channels_last_3d, (8, 8, 8))
    rounded = [t.detach().bfloat16().to(torch.float64).requires_grad_() for t in exact[:2]] + exact[2:]
    reference = unfused(*rounded)
    towards = torch.randn(reference.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    references = (reference, *torch.autograd.grad(reference, rounded, towards))
    errors = {}
    for way in (unfused, fused_upsample_conv.upsample_and_convolve):
        given = [t.detach().float().requires_grad_() for t in rounded]
        with torch.autocast("cpu", torch.bfloat16):
            output = way(*given)
        gradients = torch.autograd.grad(output, given, towards.to(output.dtype))
        errors[way] = [
            ((a.double() - b).norm() / b.norm()).item() for a, b in zip((output, *gradients), references, strict=True)
        ]
    for fused, plain in zip(errors[fused_upsample_conv.upsample_and_convolve], errors[unfused], strict=True):
        assert fused <= 1.5 * plain
        assert fused < 0.01


def test_weights_are_multiplied_in_their_own_precision() -> None:
    _, _, upsampling, weight = operands(torch.float32, torch.contiguous_format)
    outside = fused_upsample_conv.sub_voxel_weights(upsampling, weight[:, :4])
    with torch.autocast("cpu", torch.bfloat16):
        inside = fused_upsample_conv.sub_voxel_weights(upsampling, weight[:, :4])
    assert inside.dtype == torch.float32
    torch.testing.assert_close(inside, outside, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("block", "gate", "upsample", "size", "expected"),
    [
        (ConvBlock, NoGate, Upsample, 10, True),
        (ConvBlock, NoGate, Upsample, 4, False),  # a small map: the product of the weights would cost more
        (ConvBlock, AttentionGate, Upsample, 10, False),  # needs the upsampled map
        (ResidualBlock, NoGate, Upsample, 10, False),  # two convolutions read the concatenated map
        (ConvBlock, NoGate, UpsampleAsReleased, 10, False),  # has a bias
    ],
)
def test_an_enabled_decoder_stage_is_fused_where_it_can_be_with_equal_numbers(
    block: type[nn.Module], gate: type[nn.Module], upsample: type[nn.Module], size: int, expected: bool
) -> None:
    torch.manual_seed(0)
    stage = DecoderStage(6, 4, block, gate, upsample).double()
    coarse, skip = torch.randn(1, 6, size, size, size).double(), torch.randn(1, 4, *[2 * size] * 3).double()
    upsampled: list[nn.Module] = []
    plain = stage(coarse, skip)
    stage.upsample.register_forward_hook(lambda module, *_: upsampled.append(module))
    kernels.enable(stage)
    torch.testing.assert_close(stage(coarse, skip), plain, rtol=1e-10, atol=1e-10)
    assert (not upsampled) is expected
