"""A lone sample with an empty one beside it against torch's own convolution."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import nn

from brats_ablate.models import kernels
from brats_ablate.models.kernels import paired_conv
from brats_ablate.models.kernels.paired_conv import PairedConv3d, is_faster_paired


def paired(channels: int, out: int, **more: object) -> tuple[nn.Conv3d, nn.Conv3d]:
    """A convolution and the same one with pairing enabled."""
    plain = nn.Sequential(nn.Conv3d(channels, out, 3, padding=1, **more))
    other = copy.deepcopy(plain)
    kernels.enable_pairing(other)
    assert type(other[0]) is PairedConv3d
    return plain[0], other[0]


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(16, 16, 16), (17, 16, 20)])
def test_output_and_gradients_are_those_of_the_plain_convolution(bias: bool, shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    plain, other = paired(6, 5, bias=bias)
    x = torch.randn(1, 6, *shape).to(memory_format=torch.channels_last_3d)
    assert is_faster_paired(x)
    towards = torch.randn(1, 5, *shape)
    results = []
    for layer, given in ((plain.double(), x.double()), (other, x.clone())):
        output = layer(given.requires_grad_())
        results.append((output, *torch.autograd.grad(output, [given, *layer.parameters()], towards.to(given))))
    assert results[1][0].shape == (1, 5, *shape)
    rounding = math.sqrt(math.prod(shape)) * torch.finfo(torch.float32).eps  # of a sum over all voxels, in any order
    for expected, ours in zip(*results, strict=True):
        assert (ours - expected).norm() <= rounding * expected.norm()


def test_only_where_torch_would_be_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    lone = torch.zeros(1, 8, 16, 16, 16)
    assert is_faster_paired(lone)
    others = {
        "a batch": torch.zeros(2, 8, 16, 16, 16),
        "a large plane": torch.zeros(1, 8, 51, 51, 16),
        "few voxels": torch.zeros(1, 8, 16, 16, 15),
        "float64": lone.double(),
        "no values": torch.zeros(1, 8, 16, 16, 16, device="meta"),
    }
    assert [name for name, x in others.items() if is_faster_paired(x)] == []
    with torch.autocast("cpu", torch.bfloat16):
        assert not is_faster_paired(lone)
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    assert not is_faster_paired(lone)


def test_the_limit_is_torchs() -> None:
    """What torch itself chooses on both sides of it: its choice is in the name of the operation that it records."""
    layer = nn.Conv3d(8, 4, 3, padding=1)
    chosen = {}
    for edge in (50, 51):  # 8 · 50² = 20,000 and 8 · 51² = 20,808
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
            layer(torch.zeros(1, 8, edge, edge, 4))
        chosen[edge] = {event.key for event in profile.key_averages()}
    assert ("aten::mkldnn_convolution" in chosen[50]) is (paired_conv.LARGEST_PLANE < 8 * 50**2)
    if not torch.backends.mkldnn.is_available():
        pytest.skip("torch has no oneDNN on this machine")
    assert "aten::mkldnn_convolution" in chosen[51]


@pytest.mark.parametrize(
    "left",
    [
        nn.Conv3d(4, 8, 1),
        nn.Conv3d(4, 8, 3, stride=2, padding=1),
        nn.Conv3d(4, 8, 3, padding=1, groups=2),
        nn.Conv3d(4, 8, 3, padding=2, dilation=2),
        nn.Conv3d(4, 8, 3, padding=1, padding_mode="circular"),
        nn.ConvTranspose3d(4, 8, 3),
    ],
)
def test_other_layers_are_left(left: nn.Module) -> None:
    assert not PairedConv3d.replaces(left)
