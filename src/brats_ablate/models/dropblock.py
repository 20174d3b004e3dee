"""DropBlock, a regularization between a convolution and its norm; or nothing in its place."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from brats_ablate.models.base import Scheduled


class NoDrop(nn.Identity):
    """Drops nothing."""


class DropBlock3d(Scheduled):
    """DropBlock of (B, C, X, Y, Z): zeroes cubes, drawn per channel, and scales the rest to keep the mean.

    The probability that a voxel is dropped grows linearly from 0 to `probability` over the first `ramp_steps` training
    steps. Ghiasi et al., arXiv:1810.12890, with two differences. The seed rate accounts for overlapping cubes, so that
    the dropped fraction is `probability` to second order too. A cube is cut to the feature map where that is smaller.
    The schedule follows the trainer's step alone. In the paper's code evaluation advances it too, and in residual
    blocks nothing does, so that they drop nothing.

    Args:
        block_size: edge of a cube, voxels.
        probability: the fraction of voxels dropped after the ramp, in [0, 1).
        ramp_steps: training steps of the ramp; 0 starts at full probability.
    """

    drop_probability: Tensor

    def __init__(self, block_size: int, probability: float, ramp_steps: int) -> None:
        super().__init__()
        if block_size < 1 or not 0 <= probability < 1 or ramp_steps < 0:
            raise ValueError(f"DropBlock3d: {block_size=}, {probability=}, {ramp_steps=} are out of range")
        self.block_size = block_size
        self.probability = probability
        self.ramp_steps = ramp_steps
        # A tensor, so that a new value neither recompiles a compiled network nor waits for the device.
        self.register_buffer("drop_probability", torch.zeros(()), persistent=False)
        self.set_step(0)

    def set_step(self, step: int) -> None:
        ramp = min(1.0, step / self.ramp_steps) if self.ramp_steps else 1.0
        self.drop_probability.fill_(self.probability * ramp)

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        mask = self.keep_mask(x)
        scale = mask.numel() / mask.sum().clamp(min=1)
        return x * (mask * scale).to(x.dtype)

    def keep_mask(self, x: Tensor) -> Tensor:
        """Draw a float32 mask that broadcasts to the shape of `x`: 0 in the dropped cubes, 1 elsewhere."""
        edges = [min(self.block_size, s) for s in x.shape[2:]]
        corners = [s - e + 1 for s, e in zip(x.shape[2:], edges, strict=True)]
        cubes_per_voxel = 1.0
        for size, edge, n_corners in zip(x.shape[2:], edges, corners, strict=True):
            cubes_per_voxel *= edge * n_corners / size
        rate = 1 - (1 - self.drop_probability) ** (1 / cubes_per_voxel)
        seeds = (torch.rand((*x.shape[:2], *corners), device=x.device) < rate).float()
        pad = [e - 1 for edge in reversed(edges) for e in (edge, edge)]
        return 1 - F.max_pool3d(F.pad(seeds, pad), edges, stride=1)

    def extra_repr(self) -> str:
        return f"block_size={self.block_size}, probability={self.probability}, ramp_steps={self.ramp_steps}"


class DropBlockAsReleased(DropBlock3d):
    """DropBlock of the paper's code (the package `dropblock` 0.3.0): one mask for all channels, too few cubes.

    Each voxel of the map is the center of a cube with probability p / block_size³. Cubes are cut at the border, and no
    factor compensates for it: at p = 0.1 and block size 5, 3.4 % of a 4³ map and 5.9 % of an 8³ map are dropped. The
    two errors of the code's schedule are not reproduced (see `DropBlock3d`).
    """

    def keep_mask(self, x: Tensor) -> Tensor:
        """Draw a float32 mask (B, 1, X, Y, Z): 0 in the dropped cubes, 1 elsewhere."""
        rate = self.drop_probability / self.block_size**3
        centers = (torch.rand((x.shape[0], 1, *x.shape[2:]), device=x.device) < rate).float()
        dropped = F.max_pool3d(centers, self.block_size, stride=1, padding=self.block_size // 2)
        return 1 - dropped[:, :, : x.shape[2], : x.shape[3], : x.shape[4]]  # an even cube pads by one voxel too many
