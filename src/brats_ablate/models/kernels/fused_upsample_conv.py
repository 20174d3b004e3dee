"""A decoder level's transposed convolution and the 3³ convolution after it as one operation: the same numbers for
a fifth less work.

Nothing non-linear lies between the two. What the 3³ convolution makes of the upsampled map is therefore linear in the
coarse map, and within three fine voxels along an axis lie at most two coarse ones: each of the eight fine voxels of a
coarse one (its octant) is a 2³ convolution of the coarse map, whose weights are products of the two layers'. Twice the
channels below make 8 · 2 products per fine voxel and channel, where 27 stood. The upsampled map is never formed.
"""

from __future__ import annotations

from functools import partial
from itertools import product
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from brats_ablate.models.kernels.bfloat16 import bf16_to_f32, f32_to_bf16, supports_numba, voxels_of
from brats_ablate.runtime import threads
from brats_ablate.runtime.jit import jit

_VOXELS_PER_CHANNEL = 100
"""Coarse voxels from which on the convolution saves more than the product of the weights costs (measured: at the
paper's widths the two finest levels of a 128³ patch gain, the third loses)."""


def should_fuse(below: Tensor, channels: int) -> bool:
    """Whether merging is the faster way to upsample `below` to `channels` here: on a CPU, where the map is large.

    Not while a compiler traces, which fuses on its own. Unmeasured on GPUs.
    """
    spatial = below.shape[2:]
    large = spatial.numel() >= _VOXELS_PER_CHANNEL * channels and min(spatial) > 2
    return below.device.type == "cpu" and large and not torch.compiler.is_compiling()


def upsample_and_convolve(below: Tensor, skip: Tensor, upsampling: Tensor, weight: Tensor) -> Tensor:
    """`conv3d(cat((conv_transpose3d(below, upsampling, stride=2), skip), 1), weight, padding=1)`.

    Args:
        below: (B, D, X, Y, Z), the coarse map.
        skip: (B, S, 2X, 2Y, 2Z).
        upsampling: (D, C, 2, 2, 2), a transposed convolution's.
        weight: (O, C + S, 3, 3, 3).

    Returns:
        (B, O, 2X, 2Y, 2Z), in the layout of `skip`.
    """
    channels = upsampling.shape[1]
    fine = F.conv3d(skip, weight[:, channels:], padding=1)
    octants = F.conv3d(below, octant_weights(upsampling, weight[:, :channels]), padding=1)
    return cast(Tensor, _AddOctants.apply(fine, octants))


def octant_weights(upsampling: Tensor, weight: Tensor) -> Tensor:
    """(D, C, 2, 2, 2) and (O, C, 3, 3, 3) -> (8 O, D, 2, 2, 2), the octants one after the other.

    Multiplied in the weights' own precision, so that mixed precision rounds the product only.
    """
    o, c, d = *weight.shape[:2], upsampling.shape[0]
    with torch.autocast(weight.device.type, enabled=False):
        both = weight.permute(0, 2, 3, 4, 1).reshape(o * 27, c) @ upsampling.transpose(0, 1).reshape(c, d * 8)
        of_taps = both.view(o, 27, d, 8).transpose(1, 2).reshape(o * d, 27 * 8)
        octants = of_taps @ _taps().to(weight)
    return octants.view(o, d, 8, 8).permute(2, 0, 1, 3).reshape(8 * o, d, 2, 2, 2)


def _taps() -> Tensor:
    """(27 · 8, 8 · 8): 1 where a tap of the 3³ convolution and one of the transposed convolution (rows) meet in an
    octant and in a tap of its 2³ convolution (columns)."""
    along = torch.zeros(3, 2, 2, 2)  # on one axis: tap k, tap q, side p, tap a
    for p, k in product(range(2), range(3)):
        fine = p + k - 1  # from the first fine voxel of the coarse one
        along[k, fine % 2, p, fine // 2 + 1 - p] = 1
    return torch.einsum("iupa,jvqb,kwrc->ijkuvwpqrabc", along, along, along).reshape(27 * 8, 8 * 8)


class _AddOctants(torch.autograd.Function):
    """Adds (B, 8 O, X + 1, Y + 1, Z + 1) octants to (B, O, 2X, 2Y, 2Z), in place."""

    @staticmethod
    def forward(ctx: Any, fine: Tensor, octants: Tensor) -> Tensor:
        ctx.mark_dirty(fine)
        ctx.shape = octants.shape
        if supports_numba(fine, octants):
            _by_octants(_add, fine, octants)
        else:
            for sides, octant in zip(_SIDES, octants.chunk(8, dim=1), strict=True):
                fine[_of_side(sides)].add_(octant[_inside(sides, octants)])
        return fine

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor]:
        (fine,) = gradients
        octants = torch.empty(ctx.shape, dtype=fine.dtype, memory_format=torch.channels_last_3d)
        if supports_numba(fine, octants):
            _by_octants(_take, fine, octants)
            return fine, octants
        for sides, octant in zip(_SIDES, octants.chunk(8, dim=1), strict=True):
            octant[_inside(sides, octants)] = fine[_of_side(sides)]
            for axis, side in enumerate(sides, start=2):
                octant.select(axis, 0 if side else -1).zero_()  # computed, but no fine voxel's
        return fine, octants


_SIDES = tuple(product(range(2), repeat=3))


def _of_side(sides: tuple[int, ...]) -> tuple[slice, ...]:
    """The fine voxels on these sides of their coarse ones."""
    return (slice(None), slice(None), *(slice(side, None, 2) for side in sides))


def _inside(sides: tuple[int, ...], octants: Tensor) -> tuple[slice, ...]:
    """Where a 2³ convolution padded by one voxel has the octant on these sides."""
    spatial = octants.shape[2:]
    return (slice(None), slice(None), *(slice(side, side + n - 1) for side, n in zip(sides, spatial, strict=True)))


def _by_octants(loop: Any, fine: Tensor, octants: Tensor) -> None:
    """A loop over octants and the fine voxels that they belong to, shared out over threads by their first axis."""
    for voxels, of_coarse in zip(voxels_of(fine), voxels_of(octants), strict=True):
        shape, channels = of_coarse.shape[:3], voxels.shape[3]
        rows, octant_rows = voxels.reshape(-1, channels), of_coarse.reshape(-1, channels)
        threads.parallel_for(shape[0], partial(loop, rows, octant_rows, shape))


# In the order of the octants, which lie beside each other: in that of the fine voxels, a quarter of each piece of
# memory would be read four times.


@jit
def _fine_row(octant: int, x: int, y: int, z: int, shape: tuple[int, int, int]) -> int:
    """The row of (2X · 2Y · 2Z, O) that belongs to an octant of a voxel of (X + 1, Y + 1, Z + 1); -1 if none does."""
    u, v, w = 2 * x - (octant >> 2), 2 * y - (octant >> 1 & 1), 2 * z - (octant & 1)
    n_x, n_y, n_z = 2 * shape[0] - 2, 2 * shape[1] - 2, 2 * shape[2] - 2
    return (u * n_y + v) * n_z + w if 0 <= u < n_x and 0 <= v < n_y and 0 <= w < n_z else -1


@jit
def _add(fine: np.ndarray, octants: np.ndarray, shape: tuple[int, int, int], start: int, end: int) -> None:
    """Adds to (2X · 2Y · 2Z, O) the octants ((X + 1) (Y + 1) (Z + 1) 8, O) from plane `start` to `end`; bfloat16."""
    channels, k = np.uint64(fine.shape[1]), np.uint64(start * shape[1] * shape[2] * 8)
    for x in range(start, end):
        for y in range(shape[1]):
            for z in range(shape[2]):
                for octant in range(8):
                    row = _fine_row(octant, x, y, z, shape)
                    if row >= 0:
                        i = np.uint64(row)
                        for c in range(channels):
                            fine[i, c] = f32_to_bf16(bf16_to_f32(fine[i, c]) + bf16_to_f32(octants[k, c]))
                    k += np.uint64(1)


@jit
def _take(fine: np.ndarray, octants: np.ndarray, shape: tuple[int, int, int], start: int, end: int) -> None:
    """The octants that add up to the fine map, where each is one voxel of it; 0 where none is."""
    channels, k = np.uint64(fine.shape[1]), np.uint64(start * shape[1] * shape[2] * 8)
    for x in range(start, end):
        for y in range(shape[1]):
            for z in range(shape[2]):
                for octant in range(8):
                    row = _fine_row(octant, x, y, z, shape)
                    if row >= 0:
                        i = np.uint64(row)
                        for c in range(channels):
                            octants[k, c] = fine[i, c]
                    else:
                        octants[k, :] = 0
                    k += np.uint64(1)
