from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch
from schemes import BRATS2021, GLI2024, MEN_RT
from scipy.ndimage import gaussian_filter

from brats_ablate.labels.scheme import LabelScheme
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


def grid_of(labels: LabelScheme, *values: tuple[float, ...]) -> ThresholdGrid:
    return ThresholdGrid(dict(zip(labels.regions, values, strict=True)))


def dice_by_hand(probabilities: np.ndarray, reference: np.ndarray, grid: ThresholdGrid) -> np.ndarray:
    """WT, TC, ET and RC of `GLI2024`, its thresholds applied to the voxels; (W, T, E, C)."""
    masks = {
        "WT": np.isin(reference, (1, 2, 3)),
        "TC": np.isin(reference, (2, 3)),
        "ET": reference == 3,
        "RC": reference == 4,
    }
    means = []
    for thresholds in product(*grid.of_region.values()):
        wt, tc, et, rc = (p >= np.float16(t) for p, t in zip(probabilities, thresholds, strict=True))
        predicted = {"WT": wt & ~rc, "TC": wt & tc & ~rc, "ET": wt & tc & et & ~rc, "RC": rc}
        dice = []
        for region, mask in masks.items():
            both, sizes = int((predicted[region] & mask).sum()), int(predicted[region].sum()) + int(mask.sum())
            dice.append(2 * both / sizes if sizes else 1.0)
        means.append(dice)
    return np.array(means).reshape(*grid.shape, len(masks))


@pytest.mark.parametrize("averaged", [("WT", "TC", "ET", "RC"), ("TC", "RC"), ("ET",)])
@pytest.mark.parametrize("seed", [0, 1])
def test_regions_that_are_not_nested_equal_thresholds_of_the_voxels(seed: int, averaged: tuple[str, ...]) -> None:
    generator = np.random.default_rng(seed)
    shape = (5, 6, 7)
    labels = replace(GLI2024, averaged=averaged)
    probabilities = generator.choice([0.0, 0.3, 0.4, 0.45, 0.5, 0.6, 1.0], size=(4, *shape)).astype(np.float16)
    reference = generator.integers(0, 5 if seed else 4, shape).astype(np.uint8)  # without RC for seed 0
    grid = grid_of(labels, (0.4, 0.5), (0.3, 0.45, 0.6), (0.5,), (0.45, 0.9))
    dice = dice_of_combinations(joint_histogram(probabilities, reference, grid, labels), labels)
    expected = dice_by_hand(probabilities, reference, grid)[..., [labels.region_names.index(r) for r in averaged]]
    assert dice.shape == grid.shape
    np.testing.assert_allclose(dice, expected.mean(axis=-1), rtol=1e-13)
    if "RC" in averaged:
        assert len(np.unique(dice)) > 2


def test_a_tumor_that_only_a_later_region_claims_is_counted() -> None:
    """Outside of WT, RC still is no background."""
    probabilities = np.zeros((4, 5, 6, 7), np.float16)
    probabilities[3, 0] = 1
    reference = np.zeros((5, 6, 7), np.uint8)
    reference[0] = 4
    grid = grid_of(GLI2024, (0.5,), (0.5,), (0.5,), (0.5,))
    assert dice_of_combinations(joint_histogram(probabilities, reference, grid, GLI2024), GLI2024).item() == 1
    only = replace(GLI2024, averaged=("RC",))
    reference[:] = 0
    assert dice_of_combinations(joint_histogram(probabilities, reference, grid, only), only).item() == 0


def test_one_region() -> None:
    probabilities = np.array([0.1, 0.4, 0.6, 0.9], np.float16).reshape(1, 1, 1, 4)
    reference = np.array([0, 0, 1, 1], np.uint8).reshape(1, 1, 4)
    grid = grid_of(MEN_RT, (0.3, 0.5, 0.8))
    dice = dice_of_combinations(joint_histogram(probabilities, reference, grid, MEN_RT), MEN_RT)
    np.testing.assert_allclose(dice, [4 / 5, 1, 2 / 3])


@pytest.mark.parametrize("averaged", [("WT", "TC", "ET"), ("WT", "ET")])
def test_labeling_the_bins_equals_the_cumulative_sums(
    monkeypatch: pytest.MonkeyPatch, averaged: tuple[str, ...]
) -> None:
    """The way of all other regions, taken for nested ones."""
    labels = replace(BRATS2021, averaged=averaged)
    probabilities, reference = random_case(3)
    histogram = joint_histogram(probabilities, reference, PAPER_GRID, labels)
    by_sums = dice_of_combinations(histogram, labels)
    assert by_sums.shape == PAPER_GRID.shape
    monkeypatch.setattr(LabelScheme, "is_nested", False)
    np.testing.assert_array_equal(dice_of_combinations(histogram, labels), by_sums)
