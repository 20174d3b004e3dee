from __future__ import annotations

import numpy as np
import pytest
import torch
from schemes import BRATS2021
from scipy.ndimage import gaussian_filter

from brats_ablate.metrics.dice import dice_per_region
from brats_ablate.tuning.threshold_grid import ThresholdGrid, dice_of_combinations, joint_histogram

STEPS = tuple(round(0.3 + 0.05 * i, 2) for i in range(9))
PAPER_GRID = ThresholdGrid({"WT": STEPS, "TC": STEPS, "ET": STEPS})


def random_case(seed: int, shape: tuple[int, int, int] = (5, 6, 7), et: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities on and around the thresholds, also against the nesting, and a reference."""
    generator = np.random.default_rng(seed)
    probabilities = generator.choice([0.0, *STEPS, 0.299, 0.451, 0.7001, 1.0], size=(3, *shape)).astype(np.float16)
    return probabilities, generator.integers(0, 4 if et else 3, size=shape).astype(np.uint8)


def dice_of(probabilities: np.ndarray, reference: np.ndarray, grid: ThresholdGrid) -> np.ndarray:
    return dice_of_combinations(joint_histogram(probabilities, reference, grid, BRATS2021), BRATS2021)


def brute_force(probabilities: np.ndarray, reference: np.ndarray, grid: ThresholdGrid) -> np.ndarray:
    masks = torch.from_numpy(BRATS2021.to_regions_np(reference))
    predicted = (BRATS2021.labels_from_probabilities(probabilities, c) for c in grid.combinations)
    scores = [dice_per_region(torch.from_numpy(BRATS2021.to_regions_np(p)), masks).numpy() for p in predicted]
    return np.array([(wt + tc + et) / 3 for wt, tc, et in scores]).reshape(grid.shape)


@pytest.mark.parametrize("seed", range(3))
def test_equals_brute_force_in_every_grid_point(seed: int) -> None:
    probabilities, reference = random_case(seed, et=seed != 1)
    dice = dice_of(probabilities, reference, PAPER_GRID)
    np.testing.assert_array_equal(dice, brute_force(probabilities, reference, PAPER_GRID))


def test_unequal_grids_and_a_smooth_case() -> None:
    generator = np.random.default_rng(5)
    field = gaussian_filter(generator.normal(size=(16, 20, 24)), 2) * 20
    probabilities = np.stack([1 / (1 + np.exp(-field + k)) for k in (0, 1, 2)]).astype(np.float16)
    reference = (field > 0.2).astype(np.uint8) + (field > 1.1) + (field > 1.9)
    grid = ThresholdGrid({"WT": (0.3, 0.5), "TC": (0.4,), "ET": (0.2, 0.45, 0.9)})
    dice = dice_of(probabilities, reference.astype(np.uint8), grid)
    np.testing.assert_array_equal(dice, brute_force(probabilities, reference, grid))
    assert len(np.unique(dice)) == 6


def test_empty_prediction_and_empty_reference() -> None:
    nothing, empty = np.zeros((3, 5, 6, 7), np.float16), np.zeros((5, 6, 7), np.uint8)
    assert (dice_of(nothing, empty, PAPER_GRID) == 1).all()
    assert (dice_of(nothing, empty + np.uint8(3), PAPER_GRID) == 0).all()


def test_histogram_counts_every_voxel_once() -> None:
    probabilities, reference = random_case(2)
    assert joint_histogram(probabilities, reference, PAPER_GRID, BRATS2021).sum() == reference.size


@pytest.mark.parametrize("values", [(), (0.5, 0.4), (0.0, 0.5), (0.5, 0.5), (0.5, 1.1)])
def test_rejects_an_invalid_grid(values: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="tc="):
        ThresholdGrid({"WT": (0.5,), "TC": values, "ET": (0.5,)})
