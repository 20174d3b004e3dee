from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from brats_ablate.models.attention_gate import AttentionGate, NoGate
from brats_ablate.models.blocks import ConvBlock, ResidualBlock
from brats_ablate.models.kernels import fused_upsample_conv
from brats_ablate.models.unet import DecoderLevel
from brats_ablate.runtime import threads


def apart(below: Tensor, skip: Tensor, upsampling: Tensor, weight: Tensor) -> Tensor:
    upsampled = F.conv_transpose3d(below, upsampling, stride=2)
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
    expected, found = apart(*given), fused_upsample_conv.upsample_and_convolve(*given)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    towards = torch.randn_like(expected)
    for mine, theirs in zip(
        torch.autograd.grad(found, given, towards), torch.autograd.grad(expected, given, towards), strict=True
    ):
        torch.testing.assert_close(mine, theirs, rtol=1e-11, atol=1e-11)


def test_layout_is_kept() -> None:
    found = fused_upsample_conv.upsample_and_convolve(*operands(torch.float32, torch.channels_last_3d))
    assert found.is_contiguous(memory_format=torch.channels_last_3d)


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("shape", [(3, 4, 5), (1, 1, 1), (2, 7, 3)])
def test_compiled_loops_add_and_take_as_torch_does(
    shape: tuple[int, int, int], batch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator = torch.Generator().manual_seed(1)
    spatial, around = tuple(2 * n for n in shape), tuple(n + 1 for n in shape)
    fine, octants, towards = (
        torch.randn(batch, channels, *of, generator=generator).bfloat16().to(memory_format=torch.channels_last_3d)
        for channels, of in ((7, spatial), (56, around), (7, spatial))
    )

    def outcome() -> tuple[Tensor, ...]:
        given = [fine.clone().requires_grad_(), octants.clone().requires_grad_()]
        found = fused_upsample_conv._AddOctants.apply(given[0] * 1, given[1])
        return (found, *torch.autograd.grad(found, given, towards))

    taken = fused_upsample_conv.supports_numba(fine, octants)
    compiled = outcome()
    monkeypatch.setattr(fused_upsample_conv, "supports_numba", lambda *_: False)
    assert taken is threads.available()
    for mine, theirs in zip(compiled, outcome(), strict=True):
        assert torch.equal(mine, theirs)


def test_mixed_precision_loses_no_more_than_the_two_layers_do() -> None:
    """Against float64, output and gradients; the merged form rounds the weights' product, the other the upsampled map."""
    exact = operands(torch.float64, torch.channels_last_3d, (8, 8, 8))
    rounded = [t.detach().bfloat16().to(torch.float64).requires_grad_() for t in exact[:2]] + exact[2:]
    truth = apart(*rounded)
    towards = torch.randn(truth.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    truths = (truth, *torch.autograd.grad(truth, rounded, towards))
    errors = {}
    for way in (apart, fused_upsample_conv.upsample_and_convolve):
        given = [t.detach().float().requires_grad_() for t in rounded]
        with torch.autocast("cpu", torch.bfloat16):
            found = way(*given)
        gradients = torch.autograd.grad(found, given, towards.to(found.dtype))
        errors[way] = [
            ((a.double() - b).norm() / b.norm()).item() for a, b in zip((found, *gradients), truths, strict=True)
        ]
    for ours, theirs in zip(errors[fused_upsample_conv.upsample_and_convolve], errors[apart], strict=True):
        assert ours <= 1.5 * theirs
        assert ours < 0.01


def test_weights_are_multiplied_in_their_own_precision() -> None:
    _, _, upsampling, weight = operands(torch.float32, torch.contiguous_format)
    outside = fused_upsample_conv.octant_weights(upsampling, weight[:, :4])
    with torch.autocast("cpu", torch.bfloat16):
        inside = fused_upsample_conv.octant_weights(upsampling, weight[:, :4])
    assert inside.dtype == torch.float32
    torch.testing.assert_close(inside, outside, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("block", "gate", "size", "expected"),
    [
        (ConvBlock, NoGate, 10, True),
        (ConvBlock, NoGate, 4, False),  # a small map: the product of the weights would cost more
        (ConvBlock, AttentionGate, 10, False),  # needs the upsampled map
        (ResidualBlock, NoGate, 10, False),  # two convolutions read the concatenated map
    ],
)
def test_decoder_level_merges_where_it_can_and_says_the_same(
    block: type[nn.Module], gate: type[nn.Module], size: int, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    level = DecoderLevel(6, 4, block, gate).double()
    below, skip = torch.randn(1, 6, size, size, size).double(), torch.randn(1, 4, *[2 * size] * 3).double()
    upsampled: list[nn.Module] = []
    level.upsample.register_forward_hook(lambda module, *_: upsampled.append(module))
    found = level(below, skip)
    assert (not upsampled) is expected
    monkeypatch.setattr(fused_upsample_conv, "should_fuse", lambda *_: False)
    torch.testing.assert_close(found, level(below, skip), rtol=1e-10, atol=1e-10)
