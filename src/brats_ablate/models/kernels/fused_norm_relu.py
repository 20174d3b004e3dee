"""Instance norm and leaky ReLU as one operation, for bfloat16 on a CPU, where memory is what they wait for.

The map is read for the statistics, then read and written; torch's two layers read and write it once more, and in the
backward pass read two maps and write one more. Sums are float32 over 64 rows of the loops and float64 over these.
"""

from __future__ import annotations

from functools import partial
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from brats_ablate.models.kernels.bfloat16 import bf16_to_f32, f32_to_bf16, supports_numba, voxels_of
from brats_ablate.runtime import threads
from brats_ablate.runtime.jit import jit

SMALLEST = 1 << 19
"""Elements of a sample from which on this is faster than the two layers (measured)."""
_SAMPLED = 1000
"""Voxels whose mean is taken from all values before they are squared, so that no digits cancel."""
_LANES = 512
"""Neighbouring values that are treated alike, whatever their channels: the length of the compiled loops."""


def should_fuse(x: Tensor) -> bool:
    """Whether `leaky_instance_norm` takes `x` and is the faster way here."""
    return x[0].numel() >= SMALLEST and supports_numba(x)


def leaky_instance_norm(x: Tensor, weight: Tensor, bias: Tensor, eps: float, slope: float) -> Tensor:
    """`leaky_relu(instance_norm(x, weight, bias, eps), slope)`.

    Args:
        x: (B, C, X, Y, Z) bfloat16 in channels_last_3d on a CPU.
        weight, bias: (C,) float32.

    Returns:
        The shape, type and layout of `x`; it is rounded once, where the two layers round twice.
    """
    return cast(Tensor, _LeakyInstanceNorm.apply(x, weight, bias, eps, slope))


class _LeakyInstanceNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float, slope: float) -> Tensor:
        result, gain, offset = torch.empty_like(x), _array(weight), _array(bias)
        means, inverse_stds = [], []
        for voxels, out in zip(_samples(x), _samples(result), strict=True):
            sampled = voxels[:: max(1, len(voxels) // _SAMPLED)]
            shift = (sampled.astype(np.uint32) << 16).view(np.float32).mean(axis=0, dtype=np.float64)
            lanes = _Lanes(voxels)
            first, second = lanes.sums(_moments, np.stack([shift]))
            mean = first / len(voxels)
            with np.errstate(invalid="ignore"):  # infinite values make a result that is no number, as torch's do
                inverse_std = 1 / np.sqrt(np.maximum(second / len(voxels) - mean**2, 0) + eps)
            means.append(mean + shift)
            inverse_stds.append(inverse_std)
            lanes.fill(_result, np.stack([means[-1], gain * inverse_std, offset]), slope, out)
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
            lanes, n = _Lanes(voxels, above), len(voxels)
            scale = gain * inverse_std
            plain, centred = lanes.sums(_gradient_moments, np.stack([mean, scale, offset]), ctx.slope)
            along = centred * inverse_std**2 / n
            lanes.fill(_gradient, np.stack([mean, scale, offset, plain / n, along]), ctx.slope, below)
            of_weight += centred * inverse_std
            of_bias += plain
        return downstream, torch.from_numpy(of_weight).to(weight), torch.from_numpy(of_bias).to(bias), None, None


def _array(parameter: Tensor) -> np.ndarray:
    return parameter.detach().double().numpy()


def _samples(x: Tensor) -> np.ndarray:
    """(B, C, X, Y, Z) as (B, X·Y·Z, C), its bits; a view."""
    voxels = voxels_of(x)
    return voxels.reshape(len(voxels), -1, voxels.shape[-1])


class _Lanes:
    """Arrays (N, C) of one sample, several voxels to a row of about `_LANES` values, shared out over threads by rows.

    Coefficients are (K, C), one per channel.
    """

    def __init__(self, *arrays: np.ndarray) -> None:
        n, self.channels = arrays[0].shape
        self.together = 1
        while n % (2 * self.together) == 0 and 2 * self.together * self.channels <= _LANES:
            self.together *= 2
        self.arrays = [self._in_rows(array) for array in arrays]

    def _in_rows(self, array: np.ndarray) -> np.ndarray:
        return array.reshape(-1, self.together * self.channels)

    def _spread(self, coefficients: np.ndarray) -> np.ndarray:
        return np.tile(coefficients.astype(np.float32), self.together)

    def sums(self, loop: Any, coefficients: np.ndarray, *more: float) -> tuple[np.ndarray, np.ndarray]:
        """Two sums over all voxels, per channel in float64, of what `loop` adds up."""
        spread, others = self._spread(coefficients), [np.float32(value) for value in more]

        def part(start: int, end: int) -> np.ndarray:
            found = np.zeros((2, spread.shape[1]))
            loop(*self.arrays, spread, *others, found, start, end)
            return found

        total = np.sum(threads.parallel_for(len(self.arrays[0]), part), axis=0)
        first, second = total.reshape(2, self.together, self.channels).sum(axis=1)
        return first, second

    def fill(self, loop: Any, coefficients: np.ndarray, slope: float, out: np.ndarray) -> None:
        """Fills `out`, (N, C), by `loop`."""
        given = (*self.arrays, self._spread(coefficients), np.float32(slope), self._in_rows(out))
        threads.parallel_for(len(self.arrays[0]), partial(loop, *given))


# The loops count in unsigned integers, as signed ones may count from the end in Python and are not vectorised. The
# coefficients are one array and not several, as a compiler checks each pair of arrays for overlap and gives up on many.


@jit
def _moments(x: np.ndarray, shift: np.ndarray, sums: np.ndarray, start: int, end: int) -> None:
    """Adds Σ(x - shift) and Σ(x - shift)² over the rows from `start` to `end`."""
    n = np.uint64(x.shape[1])
    first, second = np.empty(x.shape[1], np.float32), np.empty(x.shape[1], np.float32)
    for low in range(start, end, 64):
        first[:] = 0
        second[:] = 0
        for i in range(np.uint64(low), np.uint64(min(low + 64, end))):
            for j in range(n):
                d = bf16_to_f32(x[i, j]) - shift[0, j]
                first[j] += d
                second[j] += d * d
        for j in range(n):
            sums[0, j] += first[j]
            sums[1, j] += second[j]


@jit
def _result(x: np.ndarray, c: np.ndarray, slope: float, out: np.ndarray, start: int, end: int) -> None:
    """`c` is mean, scale, bias."""
    for i in range(np.uint64(start), np.uint64(end)):
        for j in range(np.uint64(x.shape[1])):
            y = (bf16_to_f32(x[i, j]) - c[0, j]) * c[1, j] + c[2, j]
            out[i, j] = f32_to_bf16(y if y > 0 else y * slope)


@jit
def _gradient_moments(
    x: np.ndarray, upstream: np.ndarray, c: np.ndarray, slope: float, sums: np.ndarray, start: int, end: int
) -> None:
    """Adds Σg and Σg (x - mean), where g is the gradient of the norm's result; `c` is mean, scale, bias."""
    n = np.uint64(x.shape[1])
    first, second = np.empty(x.shape[1], np.float32), np.empty(x.shape[1], np.float32)
    for low in range(start, end, 64):
        first[:] = 0
        second[:] = 0
        for i in range(np.uint64(low), np.uint64(min(low + 64, end))):
            for j in range(n):
                d, g = bf16_to_f32(x[i, j]) - c[0, j], bf16_to_f32(upstream[i, j])
                g = g if d * c[1, j] + c[2, j] > 0 else g * slope
                first[j] += g
                second[j] += g * d
        for j in range(n):
            sums[0, j] += first[j]
            sums[1, j] += second[j]


@jit
def _gradient(
    x: np.ndarray, upstream: np.ndarray, c: np.ndarray, slope: float, out: np.ndarray, start: int, end: int
) -> None:
    """`c` is mean, scale, bias, and the two moments, the second over the variance."""
    for i in range(np.uint64(start), np.uint64(end)):
        for j in range(np.uint64(x.shape[1])):
            d, g = bf16_to_f32(x[i, j]) - c[0, j], bf16_to_f32(upstream[i, j])
            g = g if d * c[1, j] + c[2, j] > 0 else g * slope
            out[i, j] = f32_to_bf16((g - c[3, j] - d * c[4, j]) * c[1, j])
