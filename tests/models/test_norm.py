"""The layout-keeping norm against the native one, forward and backward."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from brats_ablate.errors import ConfigError
from brats_ablate.models.norm import GroupNorm, InstanceNorm, replace_norms


def outcome(norm: nn.Module, x: Tensor, upstream: Tensor) -> list[Tensor]:
    """Output, and gradients of input, weight and bias."""
    x = x.detach().requires_grad_()
    norm.zero_grad()
    y = norm(x)
    (y.float() * upstream).sum().backward()
    return [y, x.grad, norm.weight.grad, norm.bias.grad]


def pair(channels: int) -> tuple[InstanceNorm, nn.InstanceNorm3d]:
    native = nn.InstanceNorm3d(channels, affine=True)
    nn.init.normal_(native.weight)
    nn.init.normal_(native.bias)
    own = InstanceNorm(channels)
    own.load_state_dict(native.state_dict())
    return own, native


def relative_error(a: Tensor, b: Tensor) -> float:
    return float((a.detach().double() - b.detach().double()).norm() / b.detach().double().norm())


def test_a_group_norm_without_weights_works_in_16_bits_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    norm = GroupNorm(2, 8, affine=False)
    x = torch.randn(2, 8, 5, 6, 7).bfloat16()
    expected = norm(x)
    monkeypatch.setattr(Tensor, "is_cuda", True)
    assert torch.equal(norm(x), expected)


@pytest.mark.parametrize("batch", [1, 2, 3])
@pytest.mark.parametrize("channels", [3, 8, 40])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last_3d])
@pytest.mark.parametrize("training", [True, False])
def test_fp32_equals_the_native_norm(batch, channels, layout, training):
    own, native = pair(channels)
    own.train(training)
    native.train(training)
    x = (3 * torch.randn(batch, channels, 5, 6, 7) + 2).to(memory_format=layout)
    upstream = torch.randn(x.shape)
    for mine, theirs in zip(outcome(own, x, upstream), outcome(native, x, upstream), strict=True):
        assert relative_error(mine, theirs) <= 1e-5


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("batch", [1, 2, 3])
@pytest.mark.parametrize("channels", [8, 40])
def test_half_precision_errs_by_no_more_than_a_rounding(dtype, batch, channels):
    own, native = pair(channels)
    x = (torch.randn(batch, channels, 10, 12, 14) + 1).to(dtype).to(memory_format=torch.channels_last_3d)
    upstream = torch.randn(x.shape)
    mine, theirs = outcome(own, x, upstream), outcome(native, x, upstream)
    exact = outcome(copy.deepcopy(native).double(), x.double(), upstream.to(dtype).double())
    assert [t.dtype for t in mine] == [t.dtype for t in theirs] == [dtype, dtype, torch.float32, torch.float32]
    for own_value, truth in zip(mine, exact, strict=True):
        assert relative_error(own_value, truth) <= torch.finfo(dtype).eps / 2


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("channels", [8, 16])
def test_channels_last_stays(batch, channels):
    x = torch.randn(batch, channels, 6, 5, 4).to(memory_format=torch.channels_last_3d).requires_grad_()
    y = InstanceNorm(channels)(x)
    (gradient,) = torch.autograd.grad(y.square().sum(), x)
    assert y.is_contiguous(memory_format=torch.channels_last_3d)
    assert gradient.is_contiguous(memory_format=torch.channels_last_3d)


def test_a_sample_is_normalised_by_itself():
    norm = InstanceNorm(8)
    x = torch.randn(3, 8, 5, 6, 7)
    torch.testing.assert_close(norm(x)[1:2], norm(x[1:2]), rtol=0, atol=0)


@pytest.mark.parametrize("channels", [8, 32])
def test_large_means_lose_nothing(channels):
    """E[x²] - µ² in float32 would: here the mean is a thousand standard deviations."""
    x = 1000 + torch.randn(1, channels, 16, 16, 16)
    own, native = pair(channels)
    truth = copy.deepcopy(native).double()(x.double())
    assert relative_error(own(x), truth) <= 1e-3


def test_under_autocast():
    norm = InstanceNorm(8)
    x = torch.randn(2, 8, 6, 6, 6).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        assert norm(x).dtype == torch.bfloat16


def test_one_voxel_is_refused():
    with pytest.raises(ConfigError, match="one voxel"):
        InstanceNorm(4)(torch.randn(2, 4, 1, 1, 1))


def test_keep_layout_exchanges_foreign_norms_and_nothing_of_their_numbers():
    foreign = [nn.InstanceNorm3d(8), nn.InstanceNorm3d(8, affine=True), nn.GroupNorm(8, 8), nn.GroupNorm(2, 8)]
    net = nn.Sequential(nn.Conv3d(2, 8, 1), *foreign[:2], nn.Sequential(*foreign[2:]))
    for parameter in net.parameters():
        nn.init.normal_(parameter)
    x = torch.randn(2, 2, 5, 6, 7)
    expected = net(x)
    replace_norms(net)
    assert [type(m) for m in net.modules() if "Norm" in type(m).__name__] == [InstanceNorm] * 3 + [GroupNorm]
    torch.testing.assert_close(net(x), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last_3d])
def test_group_norm_keeps_the_layout_and_the_numbers(layout):
    own, native = GroupNorm(2, 8), nn.GroupNorm(2, 8)
    nn.init.normal_(native.weight)
    own.load_state_dict(native.state_dict())
    x = torch.randn(2, 8, 5, 6, 7).to(memory_format=layout)
    upstream = torch.randn(x.shape)
    mine, theirs = outcome(own, x, upstream), outcome(native, x, upstream)
    assert mine[0].is_contiguous(memory_format=layout)
    for own_value, native_value in zip(mine, theirs, strict=True):
        assert relative_error(own_value, native_value) <= 1e-5


def test_a_norm_that_two_modules_share_stays_one():
    class Shared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.InstanceNorm3d(2, affine=True)
            self.layers = nn.Sequential(nn.Conv3d(2, 2, 1), self.norm)  # as nnU-Net's blocks

    net = Shared()
    replace_norms(net)
    assert isinstance(net.norm, InstanceNorm)
    assert net.layers[1] is net.norm
