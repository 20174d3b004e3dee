"""Post-processing of a label volume, with the probabilities it was made of; each rule a small class.

On the flow: after the threshold cascade, before a case goes back to its original grid. Rules take and return nesting
depths; add one by writing a class with this `__call__` and naming it in `conf/postprocess`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np

from brats_ablate.labels import ET, NCR

PostprocessStep = Callable[[np.ndarray, np.ndarray], np.ndarray]
Connectivity = Literal[6, 18, 26]
ET_CHANNEL = 2


class NoPostprocess:
    """`postprocess=none`: the labels as the thresholds made them."""

    def __call__(self, depth: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
        """Returns `depth` itself."""
        return depth


class Sequential:
    """Several rules, one after the other, in the order of the configuration's keys."""

    def __init__(self, **rules: PostprocessStep) -> None:
        self.rules = rules

    def __call__(self, depth: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
        """(X, Y, Z) uint8 depths and the (3, X, Y, Z) probabilities they were made of -> (X, Y, Z) uint8 depths."""
        for rule in self.rules.values():
            depth = rule(depth, probabilities)
        return depth


class SmallComponents:
    """Connected components of ET that are small and uncertain become NCR (paper section 2.5).

    The paper does not say what "connected" means: 26 neighbours here, a setting.

    Args:
        below_voxels: components of fewer voxels are small; the paper's is 16.
        below_probability: a mean ET probability below this is uncertain; .9.
        connectivity: neighbours of a voxel: 6, 18 or 26.
    """

    def __init__(self, below_voxels: int, below_probability: float, connectivity: Literal[6, 18, 26] = 26) -> None:
        self.below_voxels = below_voxels
        self.below_probability = below_probability
        self.connectivity = connectivity

    def __call__(self, depth: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
        """(X, Y, Z) uint8 depths and (3, X, Y, Z) probabilities -> (X, Y, Z) uint8 depths."""
        components, voxels, probability = et_components(depth == ET, probabilities[ET_CHANNEL], self.connectivity)
        dropped = (voxels < self.below_voxels) & (probability / voxels < self.below_probability)
        if not dropped.any():
            return depth
        return np.where(np.concatenate([[False], dropped])[components], np.uint8(NCR), depth)


class FewVoxels:
    """If few voxels of ET are left and these are uncertain, all of them become NCR (paper section 2.5).

    Args:
        below_voxels: fewer voxels in the whole case are few; the paper's is 73.
        below_probability: a mean ET probability below this is uncertain; .9.
    """

    def __init__(self, below_voxels: int, below_probability: float) -> None:
        self.below_voxels = below_voxels
        self.below_probability = below_probability

    def __call__(self, depth: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
        """(X, Y, Z) uint8 depths and (3, X, Y, Z) probabilities -> (X, Y, Z) uint8 depths."""
        enhancing = depth == ET
        voxels = int(enhancing.sum())
        if not 0 < voxels < self.below_voxels:
            return depth
        if probabilities[ET_CHANNEL][enhancing].sum(dtype=np.float64) / voxels >= self.below_probability:
            return depth
        return np.where(enhancing, np.uint8(NCR), depth)


def et_components(enhancing: np.ndarray, probability: np.ndarray, connectivity: Connectivity) -> tuple[np.ndarray, ...]:
    """Connected components with their sizes and probability sums.

    Args:
        enhancing: (X, Y, Z) bool.
        probability: (X, Y, Z) ET probability.
        connectivity: 6, 18 or 26.

    Returns:
        components (X, Y, Z) integer from 1, 0 outside; voxels (n,) and the sum of probabilities (n,) float64, which is
        exact for float16 probabilities (multiples of 2⁻²⁴), so a mean does not depend on the order of summation.
    """
    import cc3d

    components = cc3d.connected_components(enhancing, connectivity=connectivity)
    inside = components[enhancing]
    voxels = np.bincount(inside)[1:]
    sums = np.bincount(inside, weights=probability[enhancing].astype(np.float64))[1:]
    return components, voxels, sums
