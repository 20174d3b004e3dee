"""Post-processing of label maps, one small class per step.

Runs after the threshold cascade, before a case returns to its original grid. To add a step, write a class with this
`__call__` and name it in `conf/postprocess`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from brats_ablate.labels.scheme import LabelScheme

PostprocessStep = Callable[[np.ndarray, np.ndarray, LabelScheme], np.ndarray]
"""(X, Y, Z) uint8 label map, the (R, X, Y, Z) probabilities it comes from, its scheme -> (X, Y, Z) uint8 label map."""
Connectivity = Literal[6, 18, 26]


class NoPostprocess:
    """`postprocess=none`: keep the labels of the thresholds."""

    def __call__(self, encoded: np.ndarray, probabilities: np.ndarray, labels: LabelScheme) -> np.ndarray:
        """Return `encoded` itself."""
        return encoded


class Sequential:
    """Several steps, one after the other, in the order of the configuration's keys."""

    def __init__(self, **steps: PostprocessStep) -> None:
        self.steps = steps

    def __call__(self, encoded: np.ndarray, probabilities: np.ndarray, labels: LabelScheme) -> np.ndarray:
        """Apply every step; shapes as `PostprocessStep`."""
        for step in self.steps.values():
            encoded = step(encoded, probabilities, labels)
        return encoded


@dataclass(frozen=True)
class SmallComponents:
    """Relabel small, low-confidence connected components of ET as NCR (paper section 2.5).

    Other schemes name other tissues, see `relabel` of `LabelScheme`.

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

    def __call__(self, encoded: np.ndarray, probabilities: np.ndarray, labels: LabelScheme) -> np.ndarray:
        """Apply the step; shapes as `PostprocessStep`."""
        rule = relabeling(labels)
        enhancing = encoded == rule.label
        components, voxels, probability = et_components(enhancing, probabilities[rule.channel], self.connectivity)
        small = (self.at_least_voxels <= voxels) & (voxels < self.below_voxels)
        dropped = small & (probability / voxels < self.below_probability)
        if not dropped.any():
            return encoded
        return np.where(np.concatenate([[False], dropped])[components], np.uint8(rule.becomes), encoded)


@dataclass(frozen=True)
class FewVoxels:
    """Relabel all ET as NCR if its total is small and low-confidence (paper section 2.5).

    Args:
        below_voxels: fewer ET voxels in the whole case are small; the paper's is 73.
        below_probability: a mean ET probability below this is low confidence; .9 in the paper.
    """

    below_voxels: int
    below_probability: float

    def __call__(self, encoded: np.ndarray, probabilities: np.ndarray, labels: LabelScheme) -> np.ndarray:
        """Apply the step; shapes as `PostprocessStep`."""
        rule = relabeling(labels)
        enhancing = encoded == rule.label
        voxels = int(enhancing.sum())
        if not 0 < voxels < self.below_voxels:
            return encoded
        if probabilities[rule.channel][enhancing].sum(dtype=np.float64) / voxels >= self.below_probability:
            return encoded
        return np.where(enhancing, np.uint8(rule.becomes), encoded)


class Relabeling(NamedTuple):
    """What the paper's rules change in a label scheme."""

    label: int
    """Stored label of the tissue whose small components are relabeled: ET."""
    channel: int
    """Of that tissue's own region."""
    becomes: int
    """Stored label that they get: NCR."""


def relabeling(labels: LabelScheme) -> Relabeling:
    """Return what the scheme's `relabel` says.

    Raises:
        ValueError: the scheme has no such rule.
    """
    for tissue, other in labels.relabel.items():
        channel = labels.channel(tissue)
        assert channel is not None, "checked by LabelScheme"
        return Relabeling(labels.label(tissue), channel, labels.label(other))
    raise ValueError(f"labels={labels.name} relabels no tissue; set postprocess=none")


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
