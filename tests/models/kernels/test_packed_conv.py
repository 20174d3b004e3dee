"""The packed convolution against PyTorch's, in float64 where only the order of summation differs."""

from __future__ import annotations

import shutil
from types import SimpleNamespace
from typing import cast

import pytest
import torch
import torch.nn.functional as F
from hardware import needs_bf16
from torch import nn

from brats_ablate.models.kernels import packed_conv
from brats_ablate.models.kernels.packed_conv import PackedConv3d, packed_conv3d, packed_weight

SIZES = [(2, 1, 1, (1, 1, 2)), (2, 3, 5, (5, 3, 4)), (2, 2, 1, (1, 5, 6)), (3, 2, 3, (3, 7, 9)), (4, 4, 2, (7, 5, 8))]


@pytest.mark.parametrize(("group", "channels", "out", "shape"), SIZES)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last_3d])
def test_output_and_gradients_equal_those_of_a_convolution(
    group: int, channels: int, out: int, shape: tuple[int, int, int], layout: torch.memory_format
) -> None:
    torch.manual_seed(0)
    x = torch.randn(2, channels, *shape, dtype=torch.float64).contiguous(memory_format=layout).requires_grad_()
    weight = torch.randn(out, channels, 3, 3, 3, dtype=torch.float64, requires_grad=True)
    expected, packed = F.conv3d(x, weight, padding=1), packed_conv3d(x, weight, group)
    cotangent = torch.randn_like(expected)
    torch.testing.assert_close(packed, expected, rtol=1e-12, atol=1e-12)
    of_packed, of_expected = (torch.autograd.grad(y, (x, weight), cotangent) for y in (packed, expected))
    for gradient, other in zip(of_packed, of_expected, strict=True):
        torch.testing.assert_close(gradient, other, rtol=1e-12, atol=1e-12)


def test_the_weights_between_two_groups_of_two_voxels() -> None:
    weight = torch.zeros(1, 1, 3, 3, 3)
    weight[0, 0, 1, 1] = torch.tensor([3.0, 5.0, 7.0])
    packed = packed_weight(weight, 2)
    assert packed.shape == (2, 2, 3, 3, 2)
    voxels = packed[:, :, 1, 1].transpose(1, 2).reshape(2, 4)  # of each output voxel, in the order along Z
    assert voxels.tolist() == [[3, 5, 7, 0], [0, 3, 5, 7]]
    assert packed.sum() == 2 * 15  # 0 away from the center of X and Y


def test_an_own_channel_is_a_place_in_the_group_and_a_channel() -> None:
    weight = torch.zeros(3, 2, 3, 3, 3)
    weight[2, 1, 0, 2, 1] = 1  # the center along Z: an output voxel reads the input voxel of the same place
    packed = packed_weight(weight, 4)
    # Outputs are shifted by one voxel: place a reads place a + 1 of the same group, the last one place 0 of the next.
    assert {tuple(index) for index in packed.nonzero().tolist()} == {
        (0 * 3 + 2, 1 * 2 + 1, 0, 2, 0),
        (1 * 3 + 2, 2 * 2 + 1, 0, 2, 0),
        (2 * 3 + 2, 3 * 2 + 1, 0, 2, 0),
        (3 * 3 + 2, 0 * 2 + 1, 0, 2, 1),
    }


class Custom(nn.Conv3d):
    pass


TAKEN = [nn.Conv3d(4, 32, 3, padding=1, bias=False), nn.Conv3d(64, 1, 3, padding=1, bias=False)]
LEFT = [
    nn.Conv3d(4, 33, 3, padding=1, bias=False),
    nn.Conv3d(4, 8, 3, padding=1),
    nn.Conv3d(4, 8, 3, bias=False),
    nn.Conv3d(4, 8, 1, bias=False),
    nn.Conv3d(4, 8, 3, padding=1, stride=2, bias=False),
    nn.Conv3d(4, 8, 3, padding=2, dilation=2, bias=False),
    nn.Conv3d(4, 8, 3, padding=1, groups=2, bias=False),
    nn.Conv3d(4, 8, (3, 3, 1), padding=(1, 1, 0), bias=False),
    nn.Conv3d(4, 8, 3, padding=1, bias=False, padding_mode="circular"),
    nn.ConvTranspose3d(4, 8, 3, padding=1, bias=False),
    nn.Conv2d(4, 8, 3, padding=1, bias=False),
    Custom(4, 8, 3, padding=1, bias=False),
    PackedConv3d(4, 8, 3, padding=1, bias=False),
]


def test_it_replaces_convolutions_that_it_equals_and_no_others() -> None:
    assert [PackedConv3d.replaces(module) for module in TAKEN] == [True] * len(TAKEN)
    taken = [module for module in LEFT if PackedConv3d.replaces(module)]
    assert taken == []


@needs_bf16
def test_on_a_cpu_it_is_the_plain_convolution_bit_for_bit() -> None:
    torch.manual_seed(0)
    plain = nn.Conv3d(16, 8, 3, padding=1, bias=False)
    packed = PackedConv3d(16, 8, 3, padding=1, bias=False)
    packed.load_state_dict(plain.state_dict())
    x = torch.randn(1, 16, 64, 64, 64)  # as large as is packed on a GPU
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(packed(x), plain(x))
        assert torch.equal(packed(x[..., :63]), plain(x[..., :63]))


@pytest.mark.parametrize(
    ("channels", "shape", "group"),
    [
        (4, (64, 64, 64), 4),
        (32, (64, 64, 64), 2),
        (4, (64, 64, 66), None),
        (32, (64, 64, 66), 2),
        (4, (64, 64, 60), None),
    ],
)
def test_on_a_gpu_large_maps_are_packed_by_4_or_2(
    channels: int, shape: tuple[int, ...], group: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiling = SimpleNamespace(
        compiler=SimpleNamespace(is_compiling=lambda: True), is_autocast_enabled=lambda device: device == "cuda"
    )
    monkeypatch.setattr(packed_conv, "torch", compiling)
    monkeypatch.setattr(packed_conv, "packed_conv3d", lambda x, weight, group: group)
    monkeypatch.setattr(nn.Conv3d, "forward", lambda self, x: None)
    on_gpu = SimpleNamespace(is_cuda=True, shape=torch.Size((1, channels, *shape)))
    assert PackedConv3d(channels, 8, 3, padding=1, bias=False).forward(cast(torch.Tensor, on_gpu)) == group


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler on a CPU")
def test_compiled_it_equals_a_convolution_to_rounding() -> None:
    torch.manual_seed(0)
    x = torch.randn(1, 4, 6, 5, 8, dtype=torch.float64).contiguous(memory_format=torch.channels_last_3d)
    weight = torch.randn(8, 4, 3, 3, 3, dtype=torch.float64, requires_grad=True)
    compiled = torch.compile(packed_conv3d, fullgraph=True)(x, weight, 4)
    expected = F.conv3d(x, weight, padding=1)
    torch.testing.assert_close(compiled, expected, rtol=1e-12, atol=1e-12)
    cotangent = torch.randn_like(expected)
    gradients = (torch.autograd.grad(y, weight, cotangent)[0] for y in (compiled, expected))
    torch.testing.assert_close(*gradients, rtol=1e-12, atol=1e-12)
