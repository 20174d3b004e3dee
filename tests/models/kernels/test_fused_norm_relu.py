"""Norm and activation in one against torch's two layers in float64, forward and backward."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from hardware import needs_bf16
from torch import Tensor, nn

from brats_ablate.models import kernels
from brats_ablate.models.blocks import NEGATIVE_SLOPE, ConvBlock, ConvLayer
from brats_ablate.models.kernels import bfloat16, fused_norm_relu
from brats_ablate.models.norm import InstanceNorm

EPS = 1e-5
HALF_A_DIGIT = torch.finfo(torch.bfloat16).eps / 2


def channels_last(shape: tuple[int, ...], mean: float = 0.5, std: float = 2.0) -> Tensor:
    x = mean + std * torch.randn(shape)
    return x.bfloat16().to(memory_format=torch.channels_last_3d)


def reference_of(x: Tensor, weight: Tensor, bias: Tensor, upstream: Tensor) -> tuple[Tensor, ...]:
    """Result and gradients of input, weight and bias, in float64."""
    given = [t.detach().double().requires_grad_() for t in (x, weight, bias)]
    y = F.leaky_relu(F.instance_norm(given[0], weight=given[1], bias=given[2], eps=EPS), NEGATIVE_SLOPE)
    return (y.detach(), *torch.autograd.grad(y, given, upstream.double()))


def fused_of(x: Tensor, weight: Tensor, bias: Tensor, upstream: Tensor) -> tuple[Tensor, ...]:
    given = [t.detach().requires_grad_() for t in (x, weight, bias)]
    y = fused_norm_relu.leaky_instance_norm(*given, EPS, NEGATIVE_SLOPE)
    return (y.detach(), *torch.autograd.grad(y, given, upstream))


def relative_error(value: Tensor, reference: Tensor) -> float:
    return float((value.detach().double() - reference).norm() / reference.norm())


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(
    "shape", [(1, 32, 12, 10, 14), (2, 8, 9, 7, 5), (3, 5, 3, 3, 3), (1, 320, 4, 4, 4), (1, 600, 3, 2, 1)]
)
def test_numbers_and_gradients(shape, threads):
    """Channels that several voxels of a loop's row share, that fill one, and that exceed it; odd numbers of voxels."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    x, weight, bias = channels_last(shape), torch.randn(shape[1]), torch.randn(shape[1])
    upstream = channels_last(shape)
    fused, reference = fused_of(x, weight, bias, upstream), reference_of(x, weight, bias, upstream)
    torch.set_num_threads(before)
    assert [t.dtype for t in fused] == [torch.bfloat16, torch.bfloat16, torch.float32, torch.float32]
    for rounded, exact in zip(fused[:2], reference[:2], strict=True):
        assert rounded.is_contiguous(memory_format=torch.channels_last_3d)
        assert relative_error(rounded, exact) < HALF_A_DIGIT
    for sums, exact in zip(fused[2:], reference[2:], strict=True):
        assert relative_error(sums, exact) < 1e-5


def test_a_sum_over_many_voxels_keeps_its_digits():
    torch.manual_seed(0)
    shape = (1, 4, 40, 50, 60)
    x, weight, bias, upstream = channels_last(shape), torch.ones(4), torch.zeros(4), channels_last(shape, 0.01, 1)
    for sums, exact in zip(
        fused_of(x, weight, bias, upstream)[2:], reference_of(x, weight, bias, upstream)[2:], strict=True
    ):
        assert relative_error(sums, exact) < 1e-6


def test_large_means_lose_nothing():
    """At a mean of fifty standard deviations the input's own digits are kept."""
    torch.manual_seed(0)
    x, weight, bias = channels_last((1, 8, 16, 16, 16), mean=50, std=1), torch.ones(8), torch.zeros(8)
    fused, reference = fused_of(x, weight, bias, x), reference_of(x, weight, bias, x)
    assert relative_error(fused[0], reference[0]) < HALF_A_DIGIT


def test_samples_are_normalized_independently():
    x, weight, bias = channels_last((3, 8, 6, 5, 4)), torch.randn(8), torch.randn(8)
    together = fused_norm_relu.leaky_instance_norm(x, weight, bias, EPS, NEGATIVE_SLOPE)
    alone = fused_norm_relu.leaky_instance_norm(x[1:2], weight, bias, EPS, NEGATIVE_SLOPE)
    assert torch.equal(together[1:2], alone)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_nan_is_not_hidden(value):
    x = channels_last((1, 8, 6, 6, 6))
    x[0, 3, 2, 2, 2] = value
    y = fused_norm_relu.leaky_instance_norm(x, torch.ones(8), torch.zeros(8), EPS, NEGATIVE_SLOPE)
    assert y[0, 3].isnan().any()
    assert not y[0, :3].isnan().any()


def test_a_constant_channel_becomes_the_bias():
    x = torch.full((1, 4, 5, 5, 5), 7.0).bfloat16().to(memory_format=torch.channels_last_3d)
    y = fused_norm_relu.leaky_instance_norm(x, torch.ones(4), torch.full((4,), 0.5), EPS, NEGATIVE_SLOPE)
    assert torch.equal(y, torch.full_like(y, 0.5))


def test_gradients_may_come_in_any_layout():
    x, weight, bias = channels_last((1, 8, 6, 5, 4)), torch.randn(8), torch.randn(8)
    upstream = channels_last((1, 8, 6, 5, 4))
    for one, other in zip(
        fused_of(x, weight, bias, upstream), fused_of(x, weight, bias, upstream.contiguous()), strict=True
    ):
        assert torch.equal(one, other)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """The shapes that the fused operation has computed."""
    shapes: list[tuple[int, ...]] = []
    real = fused_norm_relu.leaky_instance_norm

    def counted(x: Tensor, *more: object) -> Tensor:
        shapes.append(tuple(x.shape))
        return real(x, *more)

    monkeypatch.setattr(fused_norm_relu, "leaky_instance_norm", counted)
    return shapes


@needs_bf16
def test_an_enabled_layer_uses_it_where_it_is_faster(calls, monkeypatch):
    monkeypatch.setattr(fused_norm_relu, "SMALLEST", 8 * 10 * 10 * 10)
    layer, contiguous = ConvLayer(4, 8).to(memory_format=torch.channels_last_3d), ConvLayer(4, 8)
    plain = copy.deepcopy(layer)
    for module in (layer, contiguous):
        kernels.enable(module)
    large, small = torch.randn(1, 4, 10, 10, 10), torch.randn(1, 4, 9, 9, 9)
    with torch.autocast("cpu", torch.bfloat16):
        for x in (large, small):
            layer(x.to(memory_format=torch.channels_last_3d))
        plain(large.to(memory_format=torch.channels_last_3d))
        contiguous(large)
    layer(large.to(memory_format=torch.channels_last_3d))  # float32
    assert calls == [(1, 8, 10, 10, 10)]


@needs_bf16
def test_an_enabled_block_has_the_numbers_of_its_layers(calls, monkeypatch):
    torch.manual_seed(0)
    block = ConvBlock(4, 8, stride=2).to(memory_format=torch.channels_last_3d)
    for module in block.modules():
        if isinstance(module, InstanceNorm):
            nn.init.normal_(module.weight)
            nn.init.normal_(module.bias)
    x = torch.randn(2, 4, 12, 10, 14).to(memory_format=torch.channels_last_3d)
    reference = block.double()(x.double()).detach()
    kernels.enable(block.float())
    errors = []
    for smallest in (0, 1 << 40):
        monkeypatch.setattr(fused_norm_relu, "SMALLEST", smallest)
        with torch.autocast("cpu", torch.bfloat16):
            errors.append(relative_error(block(x), reference))
    assert len(calls) == 2
    assert errors[0] <= errors[1]


def test_it_is_not_traced():
    """torch.compile fuses the two layers on its own."""
    supported: list[bool] = []

    def traced(x: Tensor) -> Tensor:
        supported.append(bfloat16.supports_numba(x))
        return x + 1

    torch.compile(traced, backend="eager", fullgraph=True)(channels_last((1, 8, 6, 5, 4)))
    assert supported == [False]
