"""Gaussian noise: the paper's fourth augmentation."""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

import numpy as np
import torch

from brats_ablate.augment.background import keeps_zeros
from brats_ablate.augment.draws import chosen, interval, probability
from brats_ablate.cases import Batch
from brats_ablate.randomness import integer_seed

_CHUNK = 1 << 16
"""Voxels that get their noise at a time on a CPU, so that bits and noise stay in the cache."""


class GaussianNoise:
    """Adds independent Gaussian noise to every voxel of every modality (paper section 2.2).

    The same sample gets the same noise in every batch, but not on every kind of device: a GPU draws it with
    torch's generator, a CPU, where that is slow, from a table of 65,536 equally likely levels.

    Args:
        p: probability per sample; 0.15 in the paper.
        sigma: ends of the uniform distribution of the standard deviation, in units of the z-scored image;
            (0, 0.33) in the paper.
        background: "touch" adds noise to the zeros outside the brain too, as the released code does; "keep"
            does not.

    Raises:
        ConfigError: a value out of range.
    """

    def __init__(self, p: float, sigma: list[float], background: Literal["touch", "keep"]) -> None:
        self.p = probability("noise", p)
        self.sigma = interval("noise.sigma", sigma, at_least=0)
        self.keep_zeros = keeps_zeros("noise", background)

    def __call__(self, batch: Batch) -> Batch:
        for b, rng in chosen(batch, "noise", self.p):
            sigma = rng.uniform(*self.sigma)
            seed = integer_seed(*batch.counters[b], "noise voxels")
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
    bits = np.random.SFC64(seed)
    levels = _normal_levels() * np.float32(sigma)
    buffer = np.empty(_CHUNK, dtype=np.float32)
    voxels = images.view(-1).numpy()
    for first in range(0, voxels.size, _CHUNK):
        chunk = voxels[first : first + _CHUNK]
        level = bits.random_raw(_CHUNK // 4).view(np.uint16)[: chunk.size]
        # "wrap" cannot occur, a uint16 always finds its level; the mode spares the copy that the check would
        # need.
        noise = np.take(levels, level, out=buffer[: chunk.size], mode="wrap")
        if keep_zeros:
            noise *= chunk != 0
        chunk += noise


@lru_cache(maxsize=1)
def _normal_levels() -> np.ndarray:
    """The standard normal's quantiles at the middles of 65,536 equal shares, scaled to variance 1; float32."""
    shares = (torch.arange(1 << 16, dtype=torch.float64) + 0.5) / (1 << 16)
    quantiles = torch.special.ndtri(shares)
    return (quantiles / quantiles.square().mean().sqrt()).float().numpy()
