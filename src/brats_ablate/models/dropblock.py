"""What may be dropped between a convolution and its norm while training: nothing, or cubes (DropBlock)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from brats_ablate.models.base import Scheduled


class NoDrop(nn.Identity):
    """Drops nothing."""


class DropBlock3d(Scheduled):
    """DropBlock of (B, C, X, Y, Z): zeroes cubes, drawn for each channel, and scales the rest so that the
    mean stays.

    The probability that a voxel is dropped grows linearly from 0 to `probability` over the first `ramp_steps`
    training steps. Ghiasi et al., arXiv:1810.12890, with two differences: the seed rate accounts for cubes
    that overlap, so that the dropped fraction is `probability` to second order too, and a cube is cut to the
    feature map where that is smaller. The schedule follows the trainer's step and is off in evaluation,
    unlike the paper's code.

    Args:
        block_size: edge of a cube, voxels.
        probability: the fraction of voxels dropped in the end, in [0, 1).
        ramp_steps: training steps until then; 0 for at once.
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
        share = min(1.0, step / self.ramp_steps) if self.ramp_steps else 1.0
        self.drop_probability.fill_(self.probability * share)

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        kept = self.kept(x)
        scale = kept.numel() / kept.sum().clamp(min=1)
        return x * (kept * scale).to(x.dtype)

    def kept(self, x: Tensor) -> Tensor:
        """A random mask of the shape of `x`: 1 where it is kept, 0 in the dropped cubes; float32."""
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
