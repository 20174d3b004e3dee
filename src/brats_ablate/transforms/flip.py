"""Random flips along the axes: the paper's third augmentation.

Flipping commutes with z-scoring and with the centered zoom. It is therefore applied first, to the int16 data as stored,
which are half as large.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from brats_ablate.cases import SampleKey
from brats_ablate.runtime.random import rng_for
from brats_ablate.transforms.sampling import check_probability


class Flip:
    """Flips images, labels and foreground along each axis independently (paper section 2.2).

    Args:
        p: probability per axis; 0.5 in the paper.

    Raises:
        ConfigError: `p` is not a probability.
    """

    def __init__(self, p: float) -> None:
        self.p = check_probability("flip", p)

    def axes(self, sample_key: SampleKey) -> tuple[int, ...]:
        """Draw the spatial axes (0, 1, 2) along which a sample is flipped."""
        draws = rng_for(*sample_key, "flip").random(3)
        return tuple(axis for axis, draw in enumerate(draws) if draw < self.p)


def flip(sample: Tensor, axes: Sequence[int]) -> Tensor:
    """Flip (..., X, Y, Z) along spatial `axes`; the tensor itself if there are none."""
    return torch.flip(sample, [sample.dim() - 3 + axis for axis in axes]) if axes else sample


def flip_samples(samples: Tensor, axes: Sequence[Sequence[int]]) -> Tensor:
    """Copy (B, ..., X, Y, Z), each sample flipped along its own spatial axes."""
    flipped = torch.empty_like(samples)
    for source, target, own_axes in zip(samples, flipped, axes, strict=True):
        target.copy_(flip(source, own_axes))
    return flipped
