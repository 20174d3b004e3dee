"""Post-processing of nested label maps, one small class per step.

Runs after the threshold cascade, before a case returns to its original grid. To add a step, write a class with this
`__call__` and name it in `conf/postprocess`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from brats_ablate.labels import ET, NCR

PostprocessStep = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""(X, Y, Z) uint8 nested labels and the (3, X, Y, Z) probabilities they come from -> (X, Y, Z) uint8 nested labels."""
Connectivity = Literal[6, 18, 26]
ET_CHANNEL = 2


class NoPostprocess:
    """`postprocess=none`: keep the labels of the thresholds."""

    def __call__(self, nested: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
        """Return `nested` itself."""
        return nested


class Sequential:
    """Several steps, one after the other, in the order of the configuration's keys."""

    def __init__(self, **steps: PostprocessStep) -> None:
        self.steps = steps

    def __call__(self, nested: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
        """Apply every step; shapes as `PostprocessStep`."""
        for step in self.steps.values():
            nested = step(nested, probabilities)
        return nested


@dataclass(frozen=True)
class SmallComponents:
    """Relabel small, low-confidence connected components of ET as NCR (paper section 2.5).

    The paper does not define "connected"; the default here is 26 neighbors.

    Args:
        below_voxels: components with fewer voxels are small; the paper's is 16.
        below_probability: a mean ET probability below this is low confidence; .9 in the paper.
        connectivity: neighbors of a voxel: 6, 18 or 26.
        at_least_voxels: components with fewer voxels are kept; 2 in the released notebook.
    """

    below_voxels: int
    below_probability: float
    connectivity: Literal[6, 18, 26] = 26
    at_least_voxels: int = 1

    def __call__(self, nested: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
        """Apply the step; shapes as `PostprocessStep`."""
        components, voxels, probability = et_components(nested == ET, probabilities[ET_CHANNEL], self.connectivity)
        small = (self.at_least_voxels <= voxels) & (voxels < self.below_voxels)
        dropped = small & (probability / voxels < self.below_probability)
        if not dropped.any():
            return nested
        return np.where(np.concatenate([[False], dropped])[components], np.uint8(NCR), nested)


@dataclass(frozen=True)
class FewVoxels:
    """Relabel all ET as NCR if its total is small and low-confidence (paper section 2.5).

    Args:
        below_voxels: fewer ET voxels in the whole case are small; the paper's is 73.
        below_probability: a mean ET probability below this is low confidence; .9 in the paper.
    """

    below_voxels: int
    below_probability: float

    def __call__(self, nested: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
        """Apply the step; shapes as `PostprocessStep`."""
        enhancing = nested == ET
        voxels = int(enhancing.sum())
        if not 0 < voxels < self.below_voxels:
            return nested
        if probabilities[ET_CHANNEL][enhancing].sum(dtype=np.float64) / voxels >= self.below_probability:
            return nested
        return np.where(enhancing, np.uint8(NCR), nested)


def et_components(enhancing: np.ndarray, probability: np.ndarray, connectivity: Connectivity) -> tuple[np.ndarray, ...]:
    """Return the connected components of an (X, Y, Z) ET mask with their sizes and sums of the ET probability.

    Returns:
        Component numbers (X, Y, Z) integer from 1, 0 outside; voxels (n,); sums of probabilities (n,) float64. Sums are
        exact for float16 probabilities (multiples of 2⁻²⁴), so a mean does not depend on the order of summation.
    """
    import cc3d

    components = cc3d.connected_components(enhancing, connectivity=connectivity)
    inside = components[enhancing]
    voxels = np.bincount(inside)[1:]
    sums = np.bincount(inside, weights=probability[enhancing].astype(np.float64))[1:]
    return components, voxels, sums
