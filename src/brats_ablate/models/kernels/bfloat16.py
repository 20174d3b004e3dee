"""Compiled loops over bfloat16 voxels, which Numba sees as their 16 bits.

All loops that use `bf16_to_f32` and `f32_to_bf16` are in this file, because a compiled loop is cached until its own
file changes (see `runtime.jit`). They count in unsigned integers: signed ones may count from the end in Python, and are
not vectorized. Coefficients are one array, because a compiler checks each pair of arrays for overlap and gives up on
many.
"""

from __future__ import annotations

from typing import cast

import numpy as np
import torch
from torch import Tensor

from brats_ablate.runtime import threads
from brats_ablate.runtime.jit import jit


def supports_numba(*tensors: Tensor) -> bool:
    """Return True if `voxels_of` takes all (B, C, X, Y, Z) `tensors` and compiled loops can use torch's threads.

    False while torch.compile traces, which generates its own loops.
    """
    return (
        not torch.compiler.is_compiling()
        and all(
            t.device.type == "cpu"
            and t.dtype == torch.bfloat16
            and t.is_contiguous(memory_format=torch.channels_last_3d)
            for t in tensors
        )
        and threads.available()
    )


def voxels_of(x: Tensor) -> np.ndarray:
    """View (B, C, X, Y, Z) bfloat16 in channels_last_3d as (B, X, Y, Z, C) uint16 of the same bits."""
    return cast(np.ndarray, x.detach().view(torch.int16).permute(0, 2, 3, 4, 1).numpy().view(np.uint16))


@jit
def bf16_to_f32(bits: int) -> np.float32:
    """Return the value of a bfloat16."""
    value: np.float32 = np.uint32(np.uint32(bits) << np.uint32(16)).view(np.float32)
    return value


@jit
def f32_to_bf16(value: np.float32) -> np.uint16:
    """Round to the nearest bfloat16, ties to even, as torch does; NaN stays NaN."""
    bits = np.float32(value).view(np.uint32)
    odd = np.uint32(np.uint32(bits >> np.uint32(16)) & np.uint32(1))
    rounded = np.uint32(np.uint32(np.uint32(bits + odd) + np.uint32(0x7FFF)) >> np.uint32(16))
    nearest: np.uint16 = np.uint16(rounded if value == value else np.uint32(0x7FC0))
    return nearest


# ---- instance norm and leaky ReLU: x and gradients are (rows, values) of one sample; see `fused_norm_relu`


@jit
def add_moments(x: np.ndarray, shift: np.ndarray, sums: np.ndarray, start: int, end: int) -> None:
    """Add Σ(x - shift) and Σ(x - shift)² over the rows from `start` to `end`."""
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
def norm_relu(x: np.ndarray, c: np.ndarray, slope: float, out: np.ndarray, start: int, end: int) -> None:
    """Normalize and apply the leaky ReLU; the rows of `c` are mean, scale, bias."""
    for i in range(np.uint64(start), np.uint64(end)):
        for j in range(np.uint64(x.shape[1])):
            y = (bf16_to_f32(x[i, j]) - c[0, j]) * c[1, j] + c[2, j]
            out[i, j] = f32_to_bf16(y if y > 0 else y * slope)


@jit
def add_gradient_moments(
    x: np.ndarray, upstream: np.ndarray, c: np.ndarray, slope: float, sums: np.ndarray, start: int, end: int
) -> None:
    """Add Σg and Σg (x - mean), where g is the gradient of the norm's output; `c` is mean, scale, bias."""
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
def norm_relu_gradient(
    x: np.ndarray, upstream: np.ndarray, c: np.ndarray, slope: float, out: np.ndarray, start: int, end: int
) -> None:
    """Compute the gradient of the input; `c` is mean, scale, bias and the two moments, the second over the variance."""
    for i in range(np.uint64(start), np.uint64(end)):
        for j in range(np.uint64(x.shape[1])):
            d, g = bf16_to_f32(x[i, j]) - c[0, j], bf16_to_f32(upstream[i, j])
            g = g if d * c[1, j] + c[2, j] > 0 else g * slope
            out[i, j] = f32_to_bf16((g - c[3, j] - d * c[4, j]) * c[1, j])


# ---- upsampling and convolution: see `fused_upsample_conv`. The loops run in the order of the sub-voxels, which are
# adjacent in memory; in the order of the fine voxels each piece of memory would be read four times.


@jit
def _fine_row(sub_voxel: int, x: int, y: int, z: int, shape: tuple[int, int, int]) -> int:
    """Return the row of (2X · 2Y · 2Z, O) of a sub-voxel of a voxel of (X + 1, Y + 1, Z + 1); -1 if there is none."""
    u, v, w = 2 * x - (sub_voxel >> 2), 2 * y - (sub_voxel >> 1 & 1), 2 * z - (sub_voxel & 1)
    n_x, n_y, n_z = 2 * shape[0] - 2, 2 * shape[1] - 2, 2 * shape[2] - 2
    return (u * n_y + v) * n_z + w if 0 <= u < n_x and 0 <= v < n_y and 0 <= w < n_z else -1


@jit
def move_sub_voxels(
    back: bool, fine: np.ndarray, sub_voxels: np.ndarray, shape: tuple[int, int, int], start: int, end: int
) -> None:
    """Add to (2X · 2Y · 2Z, O) the sub-voxels ((X + 1) (Y + 1) (Z + 1) 8, O) of the planes from `start` to `end`.

    The transpose, `back`, copies each fine voxel to its sub-voxel, which is 0 where there is none.
    """
    channels, k = np.uint64(fine.shape[1]), np.uint64(start * shape[1] * shape[2] * 8)
    for x in range(start, end):
        for y in range(shape[1]):
            for z in range(shape[2]):
                for sub_voxel in range(8):
                    row = _fine_row(sub_voxel, x, y, z, shape)
                    i = np.uint64(max(row, 0))
                    if row < 0 and back:
                        sub_voxels[k, :] = 0
                    elif back:
                        for c in range(channels):
                            sub_voxels[k, c] = fine[i, c]
                    elif row >= 0:
                        for c in range(channels):
                            fine[i, c] = f32_to_bf16(bf16_to_f32(fine[i, c]) + bf16_to_f32(sub_voxels[k, c]))
                    k += np.uint64(1)
