"""A 3³ convolution of one small sample, computed as a batch of two of which the second is empty, on a CPU.

For one float32 sample of few channels and a small plane, torch does not use oneDNN but an algorithm that takes two to
nine times as long (`ConvParams::use_mkldnn` in torch 2.13). A second sample of zeros is cheaper.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

LARGEST_PLANE = 20_480
"""C · X · Y up to which torch uses the other algorithm."""
_SMALLEST = 16**3
"""Voxels of a map from which on a pair is faster (torch 2.13 with AVX2: 1.5 times at 64 channels of 16³, 9 times at 8
channels of 48³, forward and backward)."""


class PairedConv3d(nn.Conv3d):
    """`nn.Conv3d` that adds an empty sample to a lone one where that is faster: in float32 on a CPU, not compiled."""

    @staticmethod
    def replaces(module: nn.Module) -> bool:
        """Return True if `module` is a convolution that torch may compute by the slow algorithm."""
        return (
            type(module) is nn.Conv3d
            and (module.kernel_size, module.stride, module.dilation) == ((3, 3, 3), (1, 1, 1), (1, 1, 1))
            and (module.groups, module.padding_mode) == (1, "zeros")
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, X, Y, Z) -> (B, O, X', Y', Z')."""
        if not is_faster_paired(x):
            return super().forward(x)
        return super().forward(torch.cat([x, torch.zeros_like(x)]))[:1]


def is_faster_paired(x: Tensor) -> bool:
    """Return True if a convolution of `x` (B, C, X, Y, Z) would be computed by the slow algorithm, and takes longer."""
    return (
        len(x) == 1
        and x.dtype == torch.float32
        and x.device.type == "cpu"
        and x.shape[1:4].numel() <= LARGEST_PLANE
        and x.shape[2:].numel() >= _SMALLEST
        and torch.backends.mkldnn.is_available()
        and not torch.is_autocast_enabled("cpu")
        and not torch.compiler.is_compiling()
    )
