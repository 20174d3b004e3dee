"""Upsampling in a decoder stage of the U-Nets.

An upsampling is a module class called as `upsample(coarse_channels, channels)`. Its forward maps (B, D, X, Y, Z) to
(B, C, 2X, 2Y, 2Z).
"""

from __future__ import annotations

from torch import nn

from brats_ablate.models.base import KeepsInitialization


class Upsample(nn.ConvTranspose3d):
    """2³ transposed convolution without bias, initialized by Kaiming like all convolutions (paper section 3.2)."""

    def __init__(self, coarse_channels: int, channels: int) -> None:
        super().__init__(coarse_channels, channels, kernel_size=2, stride=2, bias=False)


class UpsampleAsReleased(KeepsInitialization, nn.ConvTranspose3d):
    """The upsampling of the paper's code: with bias, and initialized by torch's default.

    The standard deviation of the initial weights is √6 ≈ 2.45 times smaller than by Kaiming.
    """

    def __init__(self, coarse_channels: int, channels: int) -> None:
        super().__init__(coarse_channels, channels, kernel_size=2, stride=2)
