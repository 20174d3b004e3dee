"""A decoder stage's transposed convolution and the 3³ convolution after it as one operation: a fifth fewer operations.

Both are linear, so their composition is linear in the coarse map. Within three fine voxels along an axis lie at most
two coarse ones, so each of the eight fine voxels of a coarse one (a sub-voxel) is a 2³ convolution of the coarse map
whose weights are products of the two layers' (polyphase decomposition, as in sub-pixel convolution). With twice the
channels in the coarse map, these are 8 · 2 products per fine voxel and channel instead of 27. The upsampled map is
never formed.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import product
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from brats_ablate.models.attention_gate import NoGate
from brats_ablate.models.blocks import ConvBlock
from brats_ablate.models.kernels.bfloat16 import move_sub_voxels, supports_numba, voxels_of
from brats_ablate.models.unet import DecoderStage
from brats_ablate.models.upsample import Upsample
from brats_ablate.runtime import threads

_VOXELS_PER_CHANNEL = 100
"""Coarse voxels per channel from which on the convolution saves more than the product of the weights costs: at the
paper's widths the two finest stages of a 128³ patch gain, the third loses (docs/speed.md)."""


class FusedDecoderStage(DecoderStage):
    """`DecoderStage` of a `ConvBlock` without gate, upsampling and first convolution fused where that is faster.

    Upsampling with a bias is not fused: by the zero padding of the 3³ convolution, the bias is not a constant.
    """

    @staticmethod
    def replaces(module: nn.Module) -> bool:
        """Return True if nothing but the two convolutions acts on the upsampled map in `module`."""
        return (
            type(module) is DecoderStage
            and type(module.upsample) is Upsample
            and type(module.block) is ConvBlock
            and isinstance(module.gate, NoGate)
        )

    def forward(self, coarse: Tensor, skip: Tensor) -> Tensor:
        """(B, D, X, Y, Z) and (B, C, 2X, 2Y, 2Z) -> (B, C, 2X, 2Y, 2Z)."""
        if not should_fuse(coarse, skip.shape[1]):
            return super().forward(coarse, skip)
        block = cast(ConvBlock, self.block)
        x = upsample_and_convolve(coarse, skip, cast(Upsample, self.upsample).weight, block.first_conv.weight)
        return block.forward_from_first_conv(x)


def should_fuse(coarse: Tensor, channels: int) -> bool:
    """Return True if the fusion is the faster way to upsample `coarse` to `channels`: on a CPU, where the map is large.

    False while torch.compile traces, which fuses on its own, and on GPUs, where it is not measured.
    """
    spatial = coarse.shape[2:]
    large = spatial.numel() >= _VOXELS_PER_CHANNEL * channels and min(spatial) > 2
    return coarse.device.type == "cpu" and large and not torch.compiler.is_compiling()


def upsample_and_convolve(coarse: Tensor, skip: Tensor, upsampling: Tensor, weight: Tensor) -> Tensor:
    """Compute `conv3d(cat((conv_transpose3d(coarse, upsampling, stride=2), skip), 1), weight, padding=1)`.

    `coarse` is (B, D, X, Y, Z), `skip` (B, S, 2X, 2Y, 2Z), `upsampling` (D, C, 2, 2, 2), `weight` (O, C + S, 3, 3, 3).
    The result is (B, O, 2X, 2Y, 2Z), in the layout of `skip`.
    """
    channels = upsampling.shape[1]
    fine = F.conv3d(skip, weight[:, channels:], padding=1)
    sub_voxels = F.conv3d(coarse, sub_voxel_weights(upsampling, weight[:, :channels]), padding=1)
    apply: Callable[[Tensor, Tensor], Tensor] = AddSubVoxels.apply
    return apply(fine, sub_voxels)


def sub_voxel_weights(upsampling: Tensor, weight: Tensor) -> Tensor:
    """Multiply (D, C, 2, 2, 2) and (O, C, 3, 3, 3) to (8 O, D, 2, 2, 2), one sub-voxel after the other.

    The product is computed in the weights' own precision, so that mixed precision rounds it only once.
    """
    o, c, d = *weight.shape[:2], upsampling.shape[0]
    with torch.autocast(weight.device.type, enabled=False):
        both = weight.permute(0, 2, 3, 4, 1).reshape(o * 27, c) @ upsampling.transpose(0, 1).reshape(c, d * 8)
        of_taps = both.view(o, 27, d, 8).transpose(1, 2).reshape(o * d, 27 * 8)
        products = of_taps @ _taps().to(weight)
    return products.view(o, d, 8, 8).permute(2, 0, 1, 3).reshape(8 * o, d, 2, 2, 2)


def _taps() -> Tensor:
    """Return the matrix (27 · 8, 8 · 8) from pairs of taps to taps of the sub-voxels' 2³ convolutions.

    It is 1 where a tap of the 3³ convolution and one of the transposed convolution (rows) meet in a sub-voxel and in a
    tap of its 2³ convolution (columns).
    """
    along = torch.zeros(3, 2, 2, 2)  # on one axis: tap k, tap q, side p, tap a
    for p, k in product(range(2), range(3)):
        fine = p + k - 1  # from the first fine voxel of the coarse one
        along[k, fine % 2, p, fine // 2 + 1 - p] = 1
    return torch.einsum("iupa,jvqb,kwrc->ijkuvwpqrabc", along, along, along).reshape(27 * 8, 8 * 8)


class AddSubVoxels(torch.autograd.Function):
    """Adds (B, 8 O, X + 1, Y + 1, Z + 1) sub-voxels to (B, O, 2X, 2Y, 2Z), in place."""

    @staticmethod
    def forward(ctx: Any, fine: Tensor, sub_voxels: Tensor) -> Tensor:
        ctx.mark_dirty(fine)
        ctx.shape = sub_voxels.shape
        if supports_numba(fine, sub_voxels):
            _move(fine, sub_voxels, back=False)
        else:
            for sides, sub_voxel in zip(_SIDES, sub_voxels.chunk(8, dim=1), strict=True):
                fine[_fine_index(sides)].add_(sub_voxel[_sub_voxel_index(sides, sub_voxels)])
        return fine

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor]:
        (fine,) = gradients
        sub_voxels = torch.empty(ctx.shape, dtype=fine.dtype, memory_format=torch.channels_last_3d)
        if supports_numba(fine, sub_voxels):
            _move(fine, sub_voxels, back=True)
            return fine, sub_voxels
        for sides, sub_voxel in zip(_SIDES, sub_voxels.chunk(8, dim=1), strict=True):
            sub_voxel[_sub_voxel_index(sides, sub_voxels)] = fine[_fine_index(sides)]
            for axis, side in enumerate(sides, start=2):
                sub_voxel.select(axis, 0 if side else -1).zero_()  # computed, but outside the fine map
        return fine, sub_voxels


_SIDES = tuple(product(range(2), repeat=3))


def _fine_index(sides: tuple[int, ...]) -> tuple[slice, ...]:
    """Index the fine voxels on these sides of their coarse ones."""
    return (slice(None), slice(None), *(slice(side, None, 2) for side in sides))


def _sub_voxel_index(sides: tuple[int, ...], sub_voxels: Tensor) -> tuple[slice, ...]:
    """Index the sub-voxels on these sides in the output of the padded 2³ convolution."""
    spatial = sub_voxels.shape[2:]
    return (slice(None), slice(None), *(slice(side, side + n - 1) for side, n in zip(sides, spatial, strict=True)))


def _move(fine: Tensor, sub_voxels: Tensor, back: bool) -> None:
    """Add sub-voxels to their fine voxels, or copy these `back`; threads divide the first axis."""
    for voxels, of_coarse in zip(voxels_of(fine), voxels_of(sub_voxels), strict=True):
        shape, channels = of_coarse.shape[:3], voxels.shape[3]
        rows, sub_rows = voxels.reshape(-1, channels), of_coarse.reshape(-1, channels)
        threads.parallel_for(shape[0], partial(move_sub_voxels, back, rows, sub_rows, shape))
