"""Zoom: the paper's second augmentation."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch

from brats_ablate.cases import Batch
from brats_ablate.errors import ConfigError
from brats_ablate.runtime.memory import to_device
from brats_ablate.transforms.sampling import check_probability, check_range, selected_samples
from brats_ablate.transforms.separable import filter_in_place


class Zoom:
    """Enlarges the patch about its center and crops it to its original shape (paper section 2.2).

    Images are interpolated by cubic convolution (Keys 1981, a = -1/2), labels and foreground by nearest neighbor at the
    same coordinates. The factor is exact, the center does not move, and voxels next to the enlarged region contribute
    to the interpolation at its border.

    Args:
        p: probability per sample; 0.15 in the paper.
        factor: bounds of the uniform distribution, at least 1; (1, 1.4) in the paper.

    Raises:
        ConfigError: a value is out of range.
    """

    def __init__(self, p: float, factor: list[float]) -> None:
        self.p = check_probability("zoom", p)
        self.factor = check_range("zoom.factor", factor, at_least=1)

    def __call__(self, batch: Batch) -> Batch:
        """Zoom into the selected samples in place."""
        for b, rng in selected_samples(batch, "zoom", self.p):
            factor = rng.uniform(*self.factor)
            x, y, z = (source_coordinates(n, factor) for n in batch.labels.shape[1:])
            filter_in_place(batch.images[b], (cubic_matrix(x), cubic_matrix(y), cubic_matrix(z)))
            for mask in (batch.labels[b], batch.foreground[b, 0]):
                mask.copy_(_nearest(mask, (x, y, z)))
        return batch


class ZoomAsReleased:
    """Crops the center of the patch and resizes the crop to the patch's shape, as the paper's code does.

    The crop's side is truncated to whole voxels and its start rounded, as DALI's `fn.crop` does. Images are
    interpolated by cubic convolution that repeats the crop's border, labels and foreground by nearest neighbor.

    Args:
        p: probability per sample.
        side: bounds of the uniform distribution of the crop's side as a fraction of the patch's; (0.7, 1) in the code.

    Raises:
        ConfigError: a value is out of range.
    """

    def __init__(self, p: float, side: list[float]) -> None:
        self.p = check_probability("zoom", p)
        self.side = check_range("zoom.side", side, at_least=0)
        if not 0 < self.side[0] <= self.side[1] <= 1:
            raise ConfigError(f"augment.transforms.zoom.side={list(side)} must lie in (0, 1]")

    def __call__(self, batch: Batch) -> Batch:
        """Zoom into the selected samples in place."""
        for b, rng in selected_samples(batch, "zoom", self.p):
            side = rng.uniform(*self.side)
            x, y, z = (resized_crop_coordinates(n, max(1, int(side * n))) for n in batch.labels.shape[1:])
            filter_in_place(batch.images[b], (x.cubic, y.cubic, z.cubic))
            for mask in (batch.labels[b], batch.foreground[b, 0]):
                mask.copy_(_nearest(mask, (x.nearest, y.nearest, z.nearest)))
        return batch


class ResizedCrop(NamedTuple):
    """How one axis of a patch is sampled from a crop of it."""

    cubic: np.ndarray
    """Weights (n, n) float64 of the source voxels of each voxel."""
    nearest: np.ndarray
    """(n,) float64 index of the source voxel."""


def resized_crop_coordinates(n: int, crop: int) -> ResizedCrop:
    """Resize the central `crop` of `n` voxels to `n`; sample positions are voxel centers, clamped to the crop."""
    start = (n - crop + 1) // 2  # DALI rounds a half up
    position = (np.arange(n) + 0.5) * crop / n - 0.5
    weights = np.zeros((n, n))
    for tap in range(-1, 3):
        source = np.floor(position).astype(np.int64) + tap
        inside = start + np.clip(source, 0, crop - 1)
        np.add.at(weights, (np.arange(n), inside), _keys(np.abs(position - source)))
    return ResizedCrop(weights, start + np.floor(position + 0.5).clip(0, crop - 1))


def source_coordinates(n: int, factor: float) -> np.ndarray:
    """Return the position of each of `n` voxels of the zoomed axis on the original one, in voxels; (n,) float64."""
    center = (n - 1) / 2
    return (np.arange(n) - center) / factor + center


def cubic_matrix(coordinates: np.ndarray) -> np.ndarray:
    """Return the cubic convolution weights (n, n) of n source coordinates; those cut at the border are scaled to sum 1.

    Keys, "Cubic convolution interpolation for digital image processing", IEEE ASSP 29 (1981), with a = -1/2,
    which reproduces quadratic functions.
    """
    t = np.abs(coordinates[:, None] - np.arange(len(coordinates)))
    weights = _keys(t)
    normalized: np.ndarray = weights / weights.sum(axis=1, keepdims=True)
    return normalized


def _keys(distance: np.ndarray) -> np.ndarray:
    """Return Keys's cubic kernel, a = -1/2, at distances of any shape, in voxels."""
    t = distance
    near = (1.5 * t - 2.5) * t**2 + 1
    far = ((-0.5 * t + 2.5) * t - 4) * t + 2
    return np.where(t <= 1, near, np.where(t < 2, far, 0.0))


def _nearest(mask: torch.Tensor, coordinates: tuple[np.ndarray, np.ndarray, np.ndarray]) -> torch.Tensor:
    """Sample (X, Y, Z) of any type at the nearest voxels."""
    nearest = [np.floor(along + 0.5).astype(np.int64) for along in coordinates]
    if mask.device.type == "cpu":  # NumPy takes a third of torch's time
        x, y, z = nearest
        return torch.from_numpy(mask.numpy().take(x, 0).take(y, 1).take(z, 2))
    for axis, index in enumerate(nearest):
        mask = mask.index_select(axis, to_device(torch.from_numpy(index), mask.device))
    return mask
