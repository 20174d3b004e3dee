from __future__ import annotations

import numpy as np
import pytest
import torch
from schemes import BRATS2021

from brats_ablate.inference.postprocess import FewVoxels, Sequential, SmallComponents, relabeling
from brats_ablate.metrics.dice import dice_per_region
from brats_ablate.tuning.component_grid import PostprocessGrid, component_table, dice_of_settings

RULE = relabeling(BRATS2021)
GRID = PostprocessGrid(12, (0.4, 0.5, 0.55, 1.0))


def scattered(seed: int, density: float, reference_density: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """ET components of all sizes in NCR, their probabilities, a reference that overlaps in part."""
    generator = np.random.default_rng(seed)
    nested = np.where(generator.random((5, 6, 7)) < density, 3, 2).astype(np.uint8)
    probabilities = generator.random((3, 5, 6, 7)).astype(np.float16)
    reference = np.where(generator.random((5, 6, 7)) < reference_density, 3, 1).astype(np.uint8)
    return nested, probabilities, reference


@pytest.mark.parametrize(
    ("density", "reference_density", "connectivity"),
    [(0.05, 0.05, 26), (0.03, 0.0, 26), (0.2, 0.3, 6), (0.0, 0.2, 26), (0.0, 0.0, 26), (0.1, 0.1, 18)],
)
def test_equals_post_processing_in_every_grid_point(
    density: float, reference_density: float, connectivity: int
) -> None:
    nested, probabilities, reference = scattered(0, density, reference_density)
    scores = dice_of_settings(component_table(nested, probabilities, reference, RULE, connectivity), GRID)
    masks = torch.from_numpy(BRATS2021.to_regions_np(reference))
    for index in range(scores.size):
        probability, component, total = GRID.setting(index)
        small = SmallComponents(component, probability, connectivity)  # type: ignore[arg-type]
        result = Sequential(small=small, few=FewVoxels(total, probability))(nested, probabilities, BRATS2021)
        expected = dice_per_region(torch.from_numpy(BRATS2021.to_regions_np(result)), masks)[2].item()
        assert scores.ravel()[index] == expected, GRID.setting(index)


def test_the_settings_differ_on_this_case() -> None:
    scores = dice_of_settings(component_table(*scattered(0, 0.2, 0.3), RULE, 6), GRID)
    assert len(np.unique(scores)) > 5
