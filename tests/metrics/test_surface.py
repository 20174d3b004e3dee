from __future__ import annotations

import numpy as np
import pytest
import surface_distance
import torch
from medpy.metric.binary import hd95 as medpy_hd95
from monai.metrics import compute_hausdorff_distance
from scipy.ndimage import gaussian_filter
from surface_distance import lookup_tables

from brats_ablate.metrics import surface
from brats_ablate.metrics.surface_area import area_by_code, neighborhood_codes

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:surface_distance.*")
SPACINGS = [(1.0, 1.0, 1.0), (0.7, 1.3, 2.5)]


def irregular_masks(
    seed: int, shape: tuple[int, int, int] = (16, 20, 24), level: float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """Two irregular masks that overlap in part."""
    generator = np.random.default_rng(seed)
    base = gaussian_filter(generator.normal(size=shape), 2)
    masks = [base + 0.5 * gaussian_filter(generator.normal(size=shape), 2) > level * base.std() for _ in range(2)]
    return masks[0], masks[1]


def deepmind(
    predicted: np.ndarray, reference: np.ndarray, spacing: tuple[float, float, float]
) -> dict[str, np.ndarray]:
    return surface_distance.compute_surface_distances(reference, predicted, spacing)


@pytest.mark.parametrize("spacing", SPACINGS)
def test_element_areas_are_deepminds(spacing: tuple[float, float, float]) -> None:
    expected = lookup_tables.create_table_neighbour_code_to_surface_area(spacing)
    np.testing.assert_allclose(area_by_code(spacing), expected, rtol=1e-12)


def test_codes_of_one_voxel() -> None:
    codes = neighborhood_codes(np.ones((1, 1, 1), dtype=bool))
    np.testing.assert_array_equal(codes, [[[1, 2], [4, 8]], [[16, 32], [64, 128]]])


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("seed", range(4))
def test_area_weighted_equals_deepmind(seed: int, spacing: tuple[float, float, float]) -> None:
    predicted, reference = irregular_masks(seed)
    peer = deepmind(predicted, reference, spacing)
    ours = surface.between_elements(predicted, reference, spacing)
    np.testing.assert_allclose(np.sort(ours.predicted_mm), peer["distances_pred_to_gt"], rtol=1e-6)
    np.testing.assert_allclose(np.sort(ours.reference_mm), peer["distances_gt_to_pred"], rtol=1e-6)
    expected = surface_distance.compute_robust_hausdorff(peer, 95)
    assert surface.hd95_area_weighted(predicted, reference, spacing) == pytest.approx(expected, rel=1e-6)
    expected = surface_distance.compute_surface_dice_at_tolerance(peer, 1.0)
    assert surface.surface_dice(ours, 1.0) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("seed", range(4))
def test_pooled_equals_medpy(seed: int, spacing: tuple[float, float, float]) -> None:
    predicted, reference = irregular_masks(seed, level=1.0)
    expected = medpy_hd95(predicted, reference, spacing)
    assert surface.hd95_pooled(predicted, reference, spacing) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("seed", range(4))
def test_maximum_equals_monai(seed: int, spacing: tuple[float, float, float]) -> None:
    predicted, reference = (np.pad(m, 2) for m in irregular_masks(seed, level=1.0))
    tensors = [torch.from_numpy(m)[None, None].float() for m in (predicted, reference)]
    expected = compute_hausdorff_distance(*tensors, include_background=True, percentile=95, spacing=list(spacing))
    assert surface.hd95_maximum(predicted, reference, spacing) == pytest.approx(expected.item(), rel=1e-6)


def test_one_voxel_each_by_hand() -> None:
    predicted, reference = np.zeros((5, 6, 7), bool), np.zeros((5, 6, 7), bool)
    predicted[1, 2, 3] = True
    reference[4, 2, 3] = True
    for definition in surface.HD95.values():
        # each corner of the one voxel lies within two or three steps of 2 mm of the other's nearest corner
        assert 4 <= definition(predicted, reference, (2.0, 1.0, 1.0)) <= 6
    assert surface.hd95_pooled(predicted, reference, (2.0, 1.0, 1.0)) == 6


def test_identical_masks_touch_everywhere() -> None:
    mask, _ = irregular_masks(3)
    distances = surface.between_elements(mask, mask, (1.0, 1.0, 1.0))
    assert surface.weighted_maximum(distances) == 0
    assert surface.surface_dice(distances, 0.0) == 1
