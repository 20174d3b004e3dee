"""Calibration: by hand, against scikit-learn and MONAI, and on probabilities that are right by construction."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.metrics.calibration import CalibrationErrorMetric
from scipy.ndimage import distance_transform_edt
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss

from brats_ablate.metrics.calibration import mean_defined, near_tumor, reliability


def _drawn(seed: int, size: int = 4_000) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities as networks give them, most near 0 or 1, and a truth that they overstate."""
    generator = np.random.default_rng(seed)
    probabilities = generator.beta(0.2, 0.4, size).astype(np.float16)
    return probabilities, generator.uniform(size=size) < probabilities.astype(float) ** 2


@pytest.mark.parametrize("bins", [1, 10, 15, 20])
def test_equals_scikit_learn_and_monai(bins: int) -> None:
    probabilities, truth = _drawn(bins)
    ours = reliability(probabilities, truth, bins)
    wide = probabilities.astype(np.float64)
    frequency, confidence = calibration_curve(truth, wide, n_bins=bins)
    filled = ours.counts > 0
    np.testing.assert_allclose(np.array(ours.frequency)[filled], frequency, rtol=1e-12)
    np.testing.assert_allclose(np.array(ours.confidence)[filled], confidence, rtol=1e-12)
    assert ours.brier == pytest.approx(brier_score_loss(truth, wide), rel=1e-12)
    metric = CalibrationErrorMetric(num_bins=bins)
    metric(torch.from_numpy(wide)[None, None], torch.from_numpy(truth)[None, None])
    assert ours.ece == pytest.approx(float(metric.aggregate()), rel=2e-5)  # MONAI sums in float32


def test_by_hand() -> None:
    probabilities = np.array([0.0, 0.25, 0.25, 0.5, 0.75, 1.0], np.float16)
    ours = reliability(probabilities, np.array([0, 0, 1, 1, 0, 1], bool), 2)  # (0, .5] with 0, and (.5, 1]
    assert ours.counts.tolist() == [4, 2]
    assert ours.confidence == [0.25, 0.875]
    assert ours.frequency == [0.5, 0.5]
    assert ours.ece == pytest.approx((4 * 0.25 + 2 * 0.375) / 6)
    assert ours.brier == pytest.approx((0 + 0.0625 + 0.5625 + 0.25 + 0.5625 + 0) / 6)


def test_calibrated_probabilities_have_no_error_and_their_own_variance_as_brier_score() -> None:
    probabilities = np.repeat(np.array([0.125, 0.5, 0.75], np.float16), 800)
    truth = np.concatenate([np.arange(800) < 800 * p for p in (0.125, 0.5, 0.75)])
    ours = reliability(probabilities, truth, 15)
    assert ours.ece == 0
    assert ours.brier == pytest.approx((0.125 * 0.875 + 0.25 + 0.75 * 0.25) / 3)
    generator = np.random.default_rng(0)
    drawn = generator.uniform(size=1_000_000).astype(np.float16)
    assert reliability(drawn, generator.uniform(size=drawn.size) < drawn.astype(float), 15).ece < 0.002


def test_the_sums_of_cases_are_those_of_all_voxels() -> None:
    (p, t), (q, u) = _drawn(1), _drawn(2)
    pooled, both = reliability(p, t, 15) + reliability(q, u, 15), reliability(np.append(p, q), np.append(t, u), 15)
    assert pooled.counts.tolist() == both.counts.tolist()
    assert pooled.ece == pytest.approx(both.ece, rel=1e-12)
    assert pooled.brier == pytest.approx(both.brier, rel=1e-12)


def test_nothing_has_no_value_and_what_is_no_probability_is_refused() -> None:
    nothing = reliability(np.zeros(0, np.float16), np.zeros(0, bool), 3)
    assert np.isnan([nothing.ece, nothing.brier, *nothing.confidence, *nothing.frequency]).all()
    assert mean_defined([nothing.ece, 0.25, 0.5]) == 0.375
    assert np.isnan(mean_defined([nothing.ece]))
    assert reliability(np.array([-0.0], np.float16), np.array([False]), 3).counts.tolist() == [1, 0, 0]
    for wrong in (1.01, -0.1, np.nan):
        with pytest.raises(ValueError, match=r"must lie in \[0, 1\]"):
            reliability(np.array([0.5, wrong], np.float16), np.zeros(2, bool), 3)
    with pytest.raises(ValueError, match="float32"):
        reliability(np.zeros(2, np.float32), np.zeros(2, bool), 3)


@pytest.mark.parametrize("margin_mm", [0, 3, 7.5])
def test_near_tumor_is_by_distance_from_reference_and_prediction(margin_mm: float) -> None:
    spacing = (1.0, 1.5, 4.0)
    probabilities = np.zeros((2, 20, 18, 9), np.float16)
    probabilities[1, 0:2, 16:, 8] = 0.5  # predicted, in a corner
    probabilities[0, 10, 0, 0] = 0.49
    reference = np.zeros_like(probabilities, bool)
    reference[0, 9:14, 5:8, 3] = True
    brain = np.ones(reference.shape[1:], bool)
    brain[12] = False
    tumor = reference.any(axis=0) | (probabilities >= 0.5).any(axis=0)
    expected = (distance_transform_edt(~tumor, sampling=spacing) <= margin_mm) & brain
    np.testing.assert_array_equal(near_tumor(probabilities, reference, brain, spacing, margin_mm), expected)
    nothing = np.zeros_like(reference)
    assert not near_tumor(nothing.astype(np.float16), nothing, brain, spacing, margin_mm).any()
