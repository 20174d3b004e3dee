"""Gaussian noise: the paper's fourth augmentation."""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

import numpy as np
import torch

from brats_ablate.cases import Batch
from brats_ablate.runtime.jit import jit
from brats_ablate.runtime.random import derive_seed
from brats_ablate.transforms.sampling import check_probability, check_range, parse_background, selected_samples

_GAMMA = np.uint64(0x9E3779B97F4A7C15)
_MIX = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))
"""SplitMix64's constants."""


class GaussianNoise:
    """Adds independent Gaussian noise to every voxel of every modality (paper section 2.2).

    A sample gets the same noise in every batch, but not on every kind of device: a GPU uses torch's generator; a CPU,
    where that is slow, a table of 65,536 equally likely levels.

    Args:
        p: probability per sample; 0.15 in the paper.
        sigma: bounds of the uniform distribution of the standard deviation, in units of the z-scored image;
            (0, 0.33) in the paper.
        background: "touch" adds noise to the zeros outside the brain too, as the released code does; "keep" does not.

    Raises:
        ConfigError: a value is out of range.
    """

    def __init__(self, p: float, sigma: list[float], background: Literal["touch", "keep"]) -> None:
        self.p = check_probability("noise", p)
        self.sigma = check_range("noise.sigma", sigma, at_least=0)
        self.keep_zeros = parse_background("noise", background)

    def __call__(self, batch: Batch) -> Batch:
        """Add noise to the selected samples in place."""
        for b, rng in selected_samples(batch, "noise", self.p):
            sigma = rng.uniform(*self.sigma)
            seed = derive_seed(*batch.sample_keys[b], "noise voxels")
            add = _add_on_cpu if batch.images.device.type == "cpu" else _add_on_device
            add(batch.images[b], sigma, seed, self.keep_zeros)
        return batch


def _add_on_device(images: torch.Tensor, sigma: float, seed: int, keep_zeros: bool) -> None:
    generator = torch.Generator(images.device)
    generator.manual_seed(seed)
    noise = torch.empty_like(images).normal_(0, sigma, generator=generator)
    if keep_zeros:
        noise.mul_(images != 0)
    images.add_(noise)


def _add_on_cpu(images: torch.Tensor, sigma: float, seed: int, keep_zeros: bool) -> None:
    levels = _normal_levels() * np.float32(sigma)
    _add_levels(np.uint64(seed), levels, keep_zeros, images.view(-1).numpy())


@jit
def _add_levels(seed: np.uint64, levels: np.ndarray, keep_zeros: bool, voxels: np.ndarray) -> None:
    """Add to each voxel the level that 16 bits of SplitMix64 select; draw number i is a function of seed + i γ.

    Steele, Lea, Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014.
    """
    size, four = np.uint64(voxels.size), np.uint64(4)
    for i in range((size + np.uint64(3)) // four):
        bits = seed + (i + np.uint64(1)) * _GAMMA
        bits = (bits ^ (bits >> np.uint64(30))) * _MIX[0]
        bits = (bits ^ (bits >> np.uint64(27))) * _MIX[1]
        bits ^= bits >> np.uint64(31)
        first = i * four
        for j in range(min(four, size - first)):
            if voxels[first + j] != 0 or not keep_zeros:
                voxels[first + j] += levels[(bits >> (j * np.uint64(16))) & np.uint64(0xFFFF)]


@lru_cache(maxsize=1)
def _normal_levels() -> np.ndarray:
    """Return the standard normal's quantiles at the midpoints of 65,536 equal parts, scaled to variance 1; float32."""
    shares = (torch.arange(1 << 16, dtype=torch.float64) + 0.5) / (1 << 16)
    quantiles = torch.special.ndtri(shares)
    levels: np.ndarray = (quantiles / quantiles.square().mean().sqrt()).float().numpy()
    return levels
