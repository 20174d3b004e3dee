"""Instance norm and leaky ReLU as one operation for bfloat16 on a CPU, where both are memory-bandwidth bound.

The map is read for the statistics, then read and written. Torch's two layers read and write it once more, and in the
backward pass read two maps and write one more. Sums are float32 over 64 rows of the loops and float64 over these.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from brats_ablate.models.blocks import NEGATIVE_SLOPE, ConvLayer
from brats_ablate.models.kernels import bfloat16
from brats_ablate.models.norm import InstanceNorm
from brats_ablate.runtime import threads

SMALLEST = 1 << 19
"""Elements of a sample from which on the fusion is faster than the two layers (docs/speed.md)."""
_SAMPLED = 1000
"""Voxels whose mean is subtracted from all values before they are squared, so that no digits cancel."""
_ROW = 512
"""Values in a row of the compiled loops, at most: neighbors in memory, regardless of their channels."""


class FusedConvLayer(ConvLayer):
    """`ConvLayer` with norm and activation fused where that is faster."""

    @staticmethod
    def replaces(module: nn.Module) -> bool:
        """Return True if `module` is a layer whose `norm_act` this class computes."""
        return type(module) is ConvLayer and isinstance(module[2], InstanceNorm)

    def norm_act(self, x: Tensor) -> Tensor:
        """Apply drop, instance norm and leaky ReLU."""
        x = self[1](x)
        norm = cast(InstanceNorm, self[2])
        if should_fuse(x):
            return leaky_instance_norm(x, cast(Tensor, norm.weight), cast(Tensor, norm.bias), norm.eps, NEGATIVE_SLOPE)
        return cast(Tensor, self[3](norm(x)))


def should_fuse(x: Tensor) -> bool:
    """Return True if `leaky_instance_norm` takes `x` and is faster than the two layers."""
    return x[0].numel() >= SMALLEST and bfloat16.supports_numba(x)


def leaky_instance_norm(x: Tensor, weight: Tensor, bias: Tensor, eps: float, slope: float) -> Tensor:
    """Compute `leaky_relu(instance_norm(x, weight, bias, eps), slope)`.

    `x` is (B, C, X, Y, Z) bfloat16 in channels_last_3d on a CPU; `weight` and `bias` are (C,) float32. The result has
    the shape, type and layout of `x` and is rounded once where the two layers round twice.
    """
    apply: Callable[..., Tensor] = _LeakyInstanceNorm.apply
    return apply(x, weight, bias, eps, slope)


class _LeakyInstanceNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float, slope: float) -> Tensor:
        result, gain, offset = torch.empty_like(x), _array(weight), _array(bias)
        means, inverse_stds = [], []
        for voxels, out in zip(_samples(x), _samples(result), strict=True):
            sampled = voxels[:: max(1, len(voxels) // _SAMPLED)]
            shift = (sampled.astype(np.uint32) << 16).view(np.float32).mean(axis=0, dtype=np.float64)
            tiles = _ChannelTiles(voxels)
            first, second = tiles.sums(bfloat16.add_moments, np.stack([shift]))
            mean = first / len(voxels)
            with np.errstate(invalid="ignore"):  # infinite values give NaN, as in torch
                inverse_std = 1 / np.sqrt(np.maximum(second / len(voxels) - mean**2, 0) + eps)
            means.append(mean + shift)
            inverse_stds.append(inverse_std)
            tiles.fill(bfloat16.norm_relu, np.stack([means[-1], gain * inverse_std, offset]), slope, out)
        ctx.save_for_backward(x, weight, bias)
        ctx.statistics, ctx.slope = (means, inverse_stds), slope
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        x, weight, bias = ctx.saved_tensors
        upstream = gradients[0].to(x.dtype).contiguous(memory_format=torch.channels_last_3d)
        downstream, gain, offset = torch.empty_like(x), _array(weight), _array(bias)
        of_weight, of_bias = np.zeros(len(gain)), np.zeros(len(gain))
        samples = zip(_samples(x), _samples(upstream), _samples(downstream), *ctx.statistics, strict=True)
        for voxels, above, below, mean, inverse_std in samples:
            tiles, n = _ChannelTiles(voxels, above), len(voxels)
            scale = gain * inverse_std
            plain, centred = tiles.sums(bfloat16.add_gradient_moments, np.stack([mean, scale, offset]), ctx.slope)
            along = centred * inverse_std**2 / n
            tiles.fill(bfloat16.norm_relu_gradient, np.stack([mean, scale, offset, plain / n, along]), ctx.slope, below)
            of_weight += centred * inverse_std
            of_bias += plain
        return downstream, torch.from_numpy(of_weight).to(weight), torch.from_numpy(of_bias).to(bias), None, None


def _array(parameter: Tensor) -> np.ndarray:
    return parameter.detach().double().numpy()


def _samples(x: Tensor) -> np.ndarray:
    """View (B, C, X, Y, Z) bfloat16 as (B, X·Y·Z, C) uint16 of the same bits."""
    voxels = bfloat16.voxels_of(x)
    return voxels.reshape(len(voxels), -1, voxels.shape[-1])


class _ChannelTiles:
    """Arrays (N, C) of one sample with several voxels to a row of up to `_ROW` values; threads divide the rows.

    Coefficients are (K, C), one per channel.
    """

    def __init__(self, *arrays: np.ndarray) -> None:
        n, self.channels = arrays[0].shape
        self.per_row = 1
        while n % (2 * self.per_row) == 0 and 2 * self.per_row * self.channels <= _ROW:
            self.per_row *= 2
        self.arrays = [self._in_rows(array) for array in arrays]

    def _in_rows(self, array: np.ndarray) -> np.ndarray:
        return array.reshape(-1, self.per_row * self.channels)

    def _spread(self, coefficients: np.ndarray) -> np.ndarray:
        return np.tile(coefficients.astype(np.float32), self.per_row)

    def sums(self, loop: Callable[..., None], coefficients: np.ndarray, *more: float) -> tuple[np.ndarray, np.ndarray]:
        """Return the two sums over all voxels that `loop` adds up, each (C,) float64."""
        spread, others = self._spread(coefficients), [np.float32(value) for value in more]

        def part(start: int, end: int) -> np.ndarray:
            subtotal = np.zeros((2, spread.shape[1]))
            loop(*self.arrays, spread, *others, subtotal, start, end)
            return subtotal

        total = np.sum(threads.parallel_for(len(self.arrays[0]), part), axis=0)
        first, second = total.reshape(2, self.per_row, self.channels).sum(axis=1)
        return first, second

    def fill(self, loop: Callable[..., None], coefficients: np.ndarray, slope: float, out: np.ndarray) -> None:
        """Fill `out` (N, C) by `loop`."""
        arguments = (*self.arrays, self._spread(coefficients), np.float32(slope), self._in_rows(out))
        threads.parallel_for(len(self.arrays[0]), partial(loop, *arguments))
