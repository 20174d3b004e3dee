from __future__ import annotations

import os
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import surface_distance
from medpy.metric.binary import hd95 as medpy_hd95
from schemes import BRATS2021
from scipy.ndimage import gaussian_filter

from brats_ablate.metrics import surface

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif("BRATS_ABLATE_REAL_CASES" not in os.environ, reason="BRATS_ABLATE_REAL_CASES is not set"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:surface_distance.*"),
]
SPACING = (1.0, 1.0, 1.0)


def segmentations() -> list[np.ndarray]:
    files = sorted(Path(os.environ["BRATS_ABLATE_REAL_CASES"]).rglob("*_seg.nii.gz"))[:3]
    return [BRATS2021.encode(np.asarray(nib.load(file).dataobj)) for file in files]


def deformed(mask: np.ndarray) -> np.ndarray:
    """The mask with a ragged border, as a network might predict it."""
    noise = gaussian_filter(np.random.default_rng(0).normal(size=mask.shape), 2)
    return gaussian_filter(mask.astype(float), 1.5) + 2 * noise > 0.5


@pytest.mark.parametrize("region", [0, 1, 2])
@pytest.mark.parametrize("spacing", [SPACING, (0.7, 1.3, 2.5)])
def test_area_weighted_equals_deepmind(region: int, spacing: tuple[float, float, float]) -> None:
    masks = [nested > region for nested in segmentations()]
    for predicted, reference in [(deformed(masks[0]), masks[0]), (masks[1], masks[2])]:
        peer = surface_distance.compute_surface_distances(reference, predicted, spacing)
        expected = surface_distance.compute_robust_hausdorff(peer, 95)
        assert surface.hd95_area_weighted(predicted, reference, spacing) == pytest.approx(expected, rel=1e-6)
        expected = surface_distance.compute_surface_dice_at_tolerance(peer, 1.0)
        nsd = surface.surface_dice(surface.between_elements(predicted, reference, spacing), 1.0)
        assert nsd == pytest.approx(expected, rel=1e-6)


def test_pooled_equals_medpy_on_enhancing_tumor() -> None:
    masks = [nested > 2 for nested in segmentations()]
    expected = medpy_hd95(deformed(masks[0]), masks[0], SPACING)
    assert surface.hd95_pooled(deformed(masks[0]), masks[0], SPACING) == pytest.approx(expected, rel=1e-6)
