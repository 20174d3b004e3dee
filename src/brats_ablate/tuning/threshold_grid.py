"""Exhaustive search of the three label thresholds, from one small histogram per case instead of its volumes.

On the flow (`job=tune`): saved probabilities and a reference in, the Dice of every threshold combination out. Which
side of a threshold a probability lies on is all that a combination can see, so a case is its joint histogram over the
thresholds' bins and the reference label, and the whole 9 × 9 × 9 grid is a cumulative sum of it: exact, and hundreds
of times faster than relabelling volumes.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np

from brats_ablate.labels import TISSUES

Combination = tuple[float, float, float]


@dataclass(frozen=True)
class ThresholdGrid:
    """The candidate thresholds of each region, ascending."""

    wt: tuple[float, ...]
    tc: tuple[float, ...]
    et: tuple[float, ...]

    def __post_init__(self) -> None:
        for name in ("wt", "tc", "et"):
            values = getattr(self, name)
            if not values or list(values) != sorted(set(values)) or values[0] <= 0 or values[-1] > 1:
                raise ValueError(f"{name}={list(values)} must be ascending thresholds in (0, 1]")

    @property
    def shape(self) -> tuple[int, int, int]:
        return len(self.wt), len(self.tc), len(self.et)

    @property
    def combinations(self) -> list[Combination]:
        """Every combination, in the order of `dice_of_combinations(...).ravel()`."""
        return list(product(self.wt, self.tc, self.et))


def joint_histogram(probabilities: np.ndarray, reference: np.ndarray, grid: ThresholdGrid) -> np.ndarray:
    """How many voxels lie in each bin of the three probabilities and have each reference label.

    Bin b of a region holds the probabilities that reach its first b thresholds, compared in float16 as
    `labels.depth_from_regions` does. Voxels below every WT threshold are background under any combination: they are
    counted in bin (0, 0, 0) whatever their TC and ET.

    Args:
        probabilities: (3, X, Y, Z) float16.
        reference: (X, Y, Z) uint8 nesting depths.

    Returns:
        (W + 1, T + 1, E + 1, 4) int64 for grids of W, T and E thresholds.
    """
    tables = [_bin_of_half(values) for values in (grid.wt, grid.tc, grid.et)]
    shape = (*(n + 1 for n in grid.shape), len(TISSUES))
    bits = np.ascontiguousarray(probabilities).view(np.uint16).reshape(3, -1)
    candidates = np.flatnonzero(tables[0][bits[0]])
    w, t, e = (table[bits[k][candidates]].astype(np.intp) for k, table in enumerate(tables))
    labels = reference.ravel()
    index = np.ravel_multi_index((w, t, e, labels[candidates].astype(np.intp)), shape)
    histogram = np.bincount(index, minlength=int(np.prod(shape))).reshape(shape)
    histogram[0, 0, 0] += np.bincount(labels, minlength=len(TISSUES)) - histogram.sum(axis=(0, 1, 2))
    return histogram


def dice_of_combinations(histogram: np.ndarray) -> np.ndarray:
    """The mean Dice over WT, TC and ET of one case for every combination; an empty region as BraTS: 1 or 0.

    Args:
        histogram: of `joint_histogram`.

    Returns:
        (W, T, E) float64.
    """
    reaching = histogram
    for axis in range(3):
        reaching = np.flip(np.flip(reaching, axis).cumsum(axis), axis)
    reference = histogram.sum(axis=(0, 1, 2))
    wt = _dice(reaching[1:, :1, :1], reference, 1)
    tc = _dice(reaching[1:, 1:, :1], reference, 2)
    et = _dice(reaching[1:, 1:, 1:], reference, 3)
    return (wt + tc + et) / 3


def _dice(predicted_by_label: np.ndarray, reference_by_label: np.ndarray, depth: int) -> np.ndarray:
    both = predicted_by_label[..., depth:].sum(axis=-1)
    sizes = predicted_by_label.sum(axis=-1) + reference_by_label[depth:].sum()
    return np.where(sizes == 0, 1.0, 2 * both / np.maximum(sizes, 1))


def _bin_of_half(thresholds: tuple[float, ...]) -> np.ndarray:
    """(65536,) uint8: for the bits of every float16, how many of `thresholds` it reaches."""
    with np.errstate(invalid="ignore"):
        values = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
        reached = values[:, None] >= np.asarray(thresholds, dtype=np.float16)
    return reached.sum(axis=1, dtype=np.uint8)
