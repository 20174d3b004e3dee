"""Exhaustive search of the ET post-processing, from a table of each case's connected components.

On the flow (`job=tune`), after the thresholds are chosen: the two rules (`postprocess.SmallComponents`, `FewVoxels`)
see of a case only its ET components' sizes, mean probabilities and overlap with the reference. From that table the
Dice of all component sizes × total sizes × mean probabilities follows without touching a volume again.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from brats_ablate.inference.postprocess import ET_CHANNEL, Connectivity, et_components
from brats_ablate.labels import ET


@dataclass(frozen=True)
class PostprocessGrid:
    """Candidate values: sizes 0 to `most_voxels` for both rules, mean probabilities for both together.

    Size 0 switches a rule off.
    """

    most_voxels: int
    probabilities: tuple[float, ...]

    @property
    def sizes(self) -> np.ndarray:
        return np.arange(self.most_voxels + 1)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(mean probabilities, component sizes, total sizes)."""
        return len(self.probabilities), self.most_voxels + 1, self.most_voxels + 1

    def setting(self, index: int) -> tuple[float, int, int]:
        """(below_probability, below_voxels of a component, of the total) at a flat index of `dice_of_rules`."""
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
    depth: np.ndarray, probabilities: np.ndarray, reference: np.ndarray, connectivity: Connectivity
) -> ComponentTable:
    """The components of `depth`'s ET.

    Args:
        depth: (X, Y, Z) uint8 predicted nesting depths, before post-processing.
        probabilities: (3, X, Y, Z) float16, which `depth` was made of.
        reference: (X, Y, Z) uint8 nesting depths.
        connectivity: 6, 18 or 26, as the rule will use.
    """
    components, voxels, sums = et_components(depth == ET, probabilities[ET_CHANNEL], connectivity)
    hit = components[reference == ET]
    shared = np.bincount(hit, minlength=len(voxels) + 1)[1:]
    return ComponentTable(voxels, sums, shared, int(hit.size))


def dice_of_rules(table: ComponentTable, grid: PostprocessGrid) -> np.ndarray:
    """The case's ET Dice under every setting of the two rules: (probabilities, components, totals) as `grid.shape`."""
    result = np.empty(grid.shape)
    for i, probability in enumerate(grid.probabilities):
        uncertain = table.probability_sums / np.maximum(table.voxels, 1) < probability
        voxels, sums, shared = (
            values.sum() - _sum_below(values[uncertain], table.voxels[uncertain], grid.most_voxels)
            for values in (table.voxels, table.probability_sums, table.shared)
        )
        kept = _dice(shared, voxels, table.reference_voxels)
        none = 1.0 if table.reference_voxels == 0 else 0.0
        few = (voxels[:, None] < grid.sizes) & (sums / np.maximum(voxels, 1) < probability)[:, None]
        result[i] = np.where(few & (voxels > 0)[:, None], none, kept[:, None])
    return result


def _sum_below(values: np.ndarray, sizes: np.ndarray, most: int) -> np.ndarray:
    """(most + 1,): for each limit 0..most the sum of the `values` whose size lies below it."""
    by_size = np.bincount(np.minimum(sizes, most), weights=values.astype(np.float64), minlength=most + 1)
    return np.concatenate([[0.0], np.cumsum(by_size[:most])])


def _dice(shared: np.ndarray, predicted: np.ndarray, reference: int) -> np.ndarray:
    sizes = predicted + reference
    return np.where(sizes == 0, 1.0, 2 * shared / np.maximum(sizes, 1))
