"""A 3³ convolution to few channels, computed on groups of neighboring voxels as if they were channels, on a GPU.

cuDNN's kernels reach half of their rate at 32 output channels, where half of the work of the paper's networks is, and a
tenth of it at 4 input channels. In channels last, g neighbors along Z are one voxel with g times the channels, without
a copy. A group of g outputs that is shifted by one voxel depends on exactly two groups of inputs, so the convolution
has two taps along Z there. For g = 2 that is 4/3 of the products, at twice the rate.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_MOST_CHANNELS = 32
"""Output channels up to which packing is faster."""
_SMALLEST = 64**3
"""Voxels of a map from which on packing is faster."""


class PackedConv3d(nn.Conv3d):
    """`nn.Conv3d` that packs voxels where that is faster: on a GPU, compiled, in 16 bits, on large maps.

    Not compiled, the norm after it is slower on a part of a map than packing gains.
    """

    @staticmethod
    def replaces(module: nn.Module) -> bool:
        """Return True if `module` is a convolution that can be packed and has few output channels."""
        return (
            type(module) is nn.Conv3d
            and (module.kernel_size, module.stride, module.padding) == ((3, 3, 3), (1, 1, 1), (1, 1, 1))
            and (module.dilation, module.groups, module.bias) == ((1, 1, 1), 1, None)
            and module.padding_mode == "zeros"
            and module.out_channels <= _MOST_CHANNELS
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, X, Y, Z) -> (B, O, X, Y, Z)."""
        group = 2 if self.in_channels >= 16 else 4
        if not (x.is_cuda and torch.compiler.is_compiling() and torch.is_autocast_enabled("cuda")):
            return super().forward(x)
        if x.shape[4] % group or x.shape[2:].numel() < _SMALLEST:
            return super().forward(x)
        return packed_conv3d(x, self.weight, group)


def packed_conv3d(x: Tensor, weight: Tensor, group: int) -> Tensor:
    """Compute `conv3d(x, weight, padding=1)` on groups of `group` voxels along Z.

    `x` is (B, C, X, Y, Z), best in channels_last_3d, Z a multiple of `group` ≥ 2; `weight` is (O, C, 3, 3, 3). The
    result is (B, O, X, Y, Z), a part of a map in channels_last_3d that has `group` voxels more along Z.
    """
    batch, channels, *plane, length = x.shape
    out = len(weight)
    packed = x.permute(0, 2, 3, 4, 1).reshape(batch, *plane, length // group, group * channels).permute(0, 4, 1, 2, 3)
    result = F.conv3d(packed, packed_weight(weight, group), padding=1)
    voxels = result.permute(0, 2, 3, 4, 1).reshape(batch, *plane, length + group, out).permute(0, 4, 1, 2, 3)
    return voxels[..., group - 1 : group - 1 + length]


def packed_weight(weight: Tensor, group: int) -> Tensor:
    """Arrange (O, C, 3, 3, 3) as the weights (group · O, group · C, 3, 3, 2) between groups of voxels.

    The output group j has the voxels g(j − 1) + 1 + a, the input group of tap t the voxels g(j − 1 + t) + b, so their
    weight is that of tap gt + b − a, and 0 beyond the three.
    """
    out, channels = weight.shape[:2]
    a, b, t = (torch.arange(n, device=weight.device) for n in (group, group, 2))
    taps = (group * t + b[:, None] - a[:, None, None] + 1).clamp(0, 4)  # of the weights with a 0 at both ends
    spread = F.pad(weight, (1, 1))[..., taps.flatten()].view(out, channels, 3, 3, group, group, 2)
    return spread.permute(4, 0, 5, 1, 2, 3, 6).reshape(group * out, group * channels, 3, 3, 2)
