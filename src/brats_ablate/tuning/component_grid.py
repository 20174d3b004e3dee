"""Exhaustive search of the ET post-processing, from a table of each case's connected components.

The two steps (`postprocess.SmallComponents`, `FewVoxels`) depend only on size, mean probability and reference overlap
of a case's ET components. The Dice of every setting is computed from that table instead of the case's volumes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from brats_ablate.inference.postprocess import Connectivity, Relabeling, et_components
from brats_ablate.metrics.dice import dice_from_counts


@dataclass(frozen=True)
class PostprocessGrid:
    """Candidate values: sizes 0 to `max_voxels` for each step, mean probabilities for both together.

    Size 0 turns a step off.
    """

    max_voxels: int
    probabilities: tuple[float, ...]

    @property
    def sizes(self) -> np.ndarray:
        """Candidate sizes, ascending."""
        return np.arange(self.max_voxels + 1)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(mean probabilities, component sizes, total sizes)."""
        return len(self.probabilities), self.max_voxels + 1, self.max_voxels + 1

    def setting(self, index: int) -> tuple[float, int, int]:
        """Return (below_probability, below_voxels of a component, of the total) at an index of `dice_of_settings`."""
        p, component, total = (int(i) for i in np.unravel_index(index, self.shape))
        return self.probabilities[p], component, total


@dataclass(frozen=True)
class ComponentTable:
    """One case's predicted ET components: voxels, sums of ET probability, voxels shared with the reference (n,)."""

    voxels: np.ndarray
    probability_sums: np.ndarray
    shared: np.ndarray
    reference_voxels: int


def component_table(
    predicted: np.ndarray,
    probabilities: np.ndarray,
    reference: np.ndarray,
    rule: Relabeling,
    connectivity: Connectivity,
) -> ComponentTable:
    """Return the predicted ET components of one case, or those of the tissue that `rule` relabels.

    `predicted` is an (X, Y, Z) uint8 label map before post-processing, computed from `probabilities` (R, X, Y, Z)
    float16; `reference` is the (X, Y, Z) uint8 reference.
    """
    components, voxels, sums = et_components(predicted == rule.label, probabilities[rule.channel], connectivity)
    overlap = components[reference == rule.label]
    shared = np.bincount(overlap, minlength=len(voxels) + 1)[1:]
    return ComponentTable(voxels, sums, shared, int(overlap.size))


def dice_of_settings(table: ComponentTable, grid: PostprocessGrid) -> np.ndarray:
    """Return the case's ET Dice under every setting: (probabilities, component sizes, total sizes) as `grid.shape`."""
    result = np.empty(grid.shape)
    for i, probability in enumerate(grid.probabilities):
        uncertain = table.probability_sums / np.maximum(table.voxels, 1) < probability
        voxels, sums, shared = (
            values.sum() - _sum_below(values[uncertain], table.voxels[uncertain], grid.max_voxels)
            for values in (table.voxels, table.probability_sums, table.shared)
        )
        kept = dice_from_counts(shared, voxels, table.reference_voxels)
        removed = 1.0 if table.reference_voxels == 0 else 0.0
        few = (voxels[:, None] < grid.sizes) & (sums / np.maximum(voxels, 1) < probability)[:, None]
        result[i] = np.where(few & (voxels > 0)[:, None], removed, kept[:, None])
    return result


def _sum_below(values: np.ndarray, sizes: np.ndarray, maximum: int) -> np.ndarray:
    """Return for each limit 0..maximum the sum of the `values` whose size is below it, (maximum + 1,)."""
    by_size = np.bincount(np.minimum(sizes, maximum), weights=values.astype(np.float64), minlength=maximum + 1)
    return np.concatenate([[0.0], np.cumsum(by_size[:maximum])])
