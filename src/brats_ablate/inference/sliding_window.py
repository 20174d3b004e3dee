"""Sliding-window inference: overlapping patches of a volume, blended with Gaussian weights.

Blends what the network returns: probabilities in the paper, logits in the released code (`inference.average`).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product

import torch
import torch.nn.functional as F
from torch import Tensor

from brats_ablate.cases import Shape3d, shape3d
from brats_ablate.runtime.memory import to_device

SMALLEST_WEIGHT = 1e-3
"""Floor of the Gaussian, as MONAI's: the corners of a lone window keep a weight that divides safely."""
VOXELS_AT_ONCE = 1 << 18
"""Of the windows that a CPU computes together: one of 64³, two of 48³, eight of 32³. In a batch these take half of the
time (`benchmarks/parts/small.py`), as torch convolves lone samples of few voxels slowly."""


@dataclass(frozen=True)
class TakesBatches:
    """A network that maps (B, C, *patch_shape) to (B, K, *patch_shape), for windows that are computed together."""

    network: Callable[[Tensor], Tensor]

    def __call__(self, patches: Tensor) -> Tensor:
        """Call the network."""
        return self.network(patches)


class SlidingWindow:
    """`inference=sliding_window` (paper section 2.5): half overlap, Gaussian weights.

    Windows and weights equal those of MONAI's `sliding_window_inference(mode="gaussian")`: a grid of step
    patch × (1 − overlap), its last windows moved back inside. A volume smaller than the window is padded with zeros,
    centered. One window is computed at a time: batches gain nothing at 128³. Small windows are computed together on a
    CPU, up to `VOXELS_AT_ONCE`, if the network `TakesBatches`.

    Args:
        patch_shape: the window, in voxels; the job passes the training patch's shape.
        overlap: the fraction of a window shared with its neighbor, in [0, 1).
        sigma_scale: the Gaussian's sigma as a fraction of the window; the paper's is 0.125.

    Raises:
        ValueError: overlap or sigma_scale out of range.
    """

    def __init__(self, patch_shape: tuple[int, int, int], overlap: float, sigma_scale: float) -> None:
        if not 0 <= overlap < 1:
            raise ValueError(f"overlap={overlap} must lie in [0, 1)")
        if sigma_scale <= 0:
            raise ValueError(f"sigma_scale={sigma_scale} must be positive")
        self.patch_shape = shape3d(patch_shape)
        self.overlap = overlap
        self.weight = gaussian_weight(self.patch_shape, sigma_scale)

    def __call__(self, network: Callable[[Tensor], Tensor], volume: Tensor) -> Tensor:
        """Blend the network's outputs over a volume.

        Args:
            network: (1, C, *patch_shape) -> (1, K, *patch_shape).
            volume: (1, C, X, Y, Z), one case; any spatial shape.

        Returns:
            (1, K, X, Y, Z) float32.
        """
        padded, inner = pad_centered(volume, self.patch_shape)
        shape = padded.shape[2:]
        self.weight = to_device(self.weight, volume.device)  # stays there for the next call
        total: Tensor | None = None
        weights = torch.zeros(tuple(shape), device=volume.device)
        found = windows(tuple(shape), self.patch_shape, self.overlap)
        takes_batches = isinstance(network, TakesBatches) and volume.device.type == "cpu"
        at_once = max(1, VOXELS_AT_ONCE // math.prod(self.patch_shape)) if takes_batches else 1
        for first in range(0, len(found), at_once):
            indices = [(slice(None), slice(None), *window) for window in found[first : first + at_once]]
            patches = [padded[index] for index in indices]
            results = network(torch.cat(patches) if len(patches) > 1 else patches[0])
            if total is None:
                total = torch.zeros((1, results.shape[1], *shape), device=volume.device)
            for index, result in zip(indices, results.split(1), strict=True):
                total[index].addcmul_(result.float(), self.weight)
                weights[index[2:]] += self.weight
        assert total is not None
        return total.div_(weights)[inner]


def windows(shape: tuple[int, ...], patch_shape: Shape3d, overlap: float) -> list[tuple[slice, ...]]:
    """Return windows that cover a volume of `shape` and lie inside it; `shape` is at least `patch_shape`."""
    per_axis = []
    for size, patch in zip(shape, patch_shape, strict=True):
        step = max(1, int(patch * (1 - overlap)))
        count = 1 + max(0, -((patch - size) // step))
        per_axis.append([slice(s, s + patch) for s in (min(i * step, size - patch) for i in range(count))])
    return list(product(*per_axis))


def gaussian_weight(shape: Shape3d, sigma_scale: float) -> Tensor:
    """Return a Gaussian of `shape` with peak 1, sigma as a fraction of each edge, and floor SMALLEST_WEIGHT."""
    weight = torch.ones(())
    for size in shape:
        offset = torch.arange(size, dtype=torch.float32) - (size - 1) / 2
        weight = weight[..., None] * torch.exp(-(offset**2) / (2 * (sigma_scale * size) ** 2))
    return weight.clamp_(min=max(SMALLEST_WEIGHT, float(weight.min())))


def pad_centered(volume: Tensor, shape: tuple[int, ...]) -> tuple[Tensor, tuple[slice, ...]]:
    """Pad (1, C, X, Y, Z) with zeros to at least `shape`; return it and the index of the original in it."""
    missing = [max(0, target - size) for size, target in zip(volume.shape[2:], shape, strict=True)]
    before = [m // 2 for m in missing]
    after = [m - b for m, b in zip(missing, before, strict=True)]
    spatial = (slice(b, b + size) for b, size in zip(before, volume.shape[2:], strict=True))
    inner = (slice(None), slice(None), *spatial)
    if not any(missing):
        return volume, inner
    widths = [w for pair in reversed(list(zip(before, after, strict=True))) for w in pair]
    return F.pad(volume, widths), inner
