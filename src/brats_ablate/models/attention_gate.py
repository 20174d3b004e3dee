"""Attention gates on the skip connections; or nothing in their place.

A gate is a module class called as `gate(channels)`. Its forward takes the skip's feature map and the upsampled map of
the coarser stage, both (B, C, X, Y, Z), and returns the skip to concatenate.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from brats_ablate.models.blocks import conv
from brats_ablate.models.norm import InstanceNorm


class NoGate(nn.Module):
    """Returns the skip unchanged."""

    def __init__(self, channels: int) -> None:
        super().__init__()

    def forward(self, skip: Tensor, upsampled: Tensor) -> Tensor:
        return skip


class AttentionGate(nn.Module):
    """Additive attention by 1³ convolutions: skip · σ(ψ(ReLU(W_x skip + W_g upsampled))).

    Oktay et al., arXiv:1804.03999, without their norm. The signal is the upsampled map at the skip's resolution, as in
    the paper's code; Oktay et al. gate on a grid twice as coarse and interpolate.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        inner = channels // 2
        self.from_skip = conv(channels, inner, 1)
        self.from_signal = nn.Conv3d(channels, inner, 1)
        self.psi = nn.Conv3d(inner, 1, 1)

    def forward(self, skip: Tensor, upsampled: Tensor) -> Tensor:
        attention = torch.relu(self.from_skip(skip) + self.from_signal(upsampled))
        return skip * torch.sigmoid(self.psi(attention))


class AttentionGateAsReleased(nn.Module):
    """The gate of the paper's code: `AttentionGate` with 3³ convolutions, each followed by instance norm."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        inner = channels // 2
        self.from_skip = nn.Sequential(conv(channels, inner, 3), InstanceNorm(inner))
        self.from_signal = nn.Sequential(conv(channels, inner, 3), InstanceNorm(inner))
        self.psi = nn.Sequential(conv(inner, 1, 3), InstanceNorm(1))

    def forward(self, skip: Tensor, upsampled: Tensor) -> Tensor:
        attention = torch.relu(self.from_skip(skip) + self.from_signal(upsampled))
        return skip * torch.sigmoid(self.psi(attention))
