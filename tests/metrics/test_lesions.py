from __future__ import annotations

import numpy as np
import pytest

from brats_ablate.metrics.lesions import LesionMatching, lesion_scores

UNIT = (1.0, 1.0, 1.0)


def cubes(*starts: tuple[int, int, int], edge: int = 4, shape: tuple[int, int, int] = (60, 24, 24)) -> np.ndarray:
    mask = np.zeros(shape, dtype=bool)
    for x, y, z in starts:
        mask[x : x + edge, y : y + edge, z : z + edge] = True
    return mask


def test_true_and_false_lesions_by_hand() -> None:
    """Three lesions of 64 voxels: one exact, one shifted by a voxel, one missed; one predicted far from all."""
    reference = cubes((2, 4, 4), (20, 4, 4), (38, 4, 4))
    predicted = cubes((2, 4, 4), (21, 4, 4), (52, 4, 4))
    scores = lesion_scores(predicted, reference, UNIT)
    # exact: Dice 1, HD95 0; shifted: 48 of 64 shared, 1 mm; false negative and false positive: 0 and 374 mm
    assert scores.dice == pytest.approx((1 + 0.75 + 0 + 0) / 4)
    assert scores.hd95_mm == pytest.approx((0 + 1 + 374 + 374) / 4)
    assert (scores.true_positives, scores.false_negatives, scores.false_positives) == (2, 1, 1)


def test_parts_within_dilation_are_one_lesion() -> None:
    """Gaps of up to six voxels close under two dilations of three; seven do not."""
    predicted = cubes((2, 4, 4))
    joined = lesion_scores(predicted, cubes((2, 4, 4), (12, 4, 4)), UNIT)
    assert joined.dice == pytest.approx(2 * 64 / (64 + 128))
    assert (joined.true_positives, joined.false_negatives) == (1, 0)
    apart = lesion_scores(predicted, cubes((2, 4, 4), (13, 4, 4)), UNIT)
    assert apart.dice == pytest.approx(0.5)
    assert (apart.true_positives, apart.false_negatives) == (1, 1)


def test_a_prediction_that_bridges_two_lesions_belongs_to_both() -> None:
    reference = cubes((2, 4, 4), (20, 4, 4))
    predicted = np.zeros_like(reference)
    predicted[2:24, 4:8, 4:8] = True
    scores = lesion_scores(predicted, reference, UNIT)
    assert scores.dice == pytest.approx(2 * 64 / (64 + 22 * 16))
    assert (scores.true_positives, scores.false_negatives, scores.false_positives) == (2, 0, 0)


def test_small_lesions_are_ignored_and_make_no_false_positive() -> None:
    """3³ = 27 mm³ is at most 50: neither true positive nor false negative; in voxels of 2 mm³ it counts (54 mm³)."""
    reference = cubes((2, 4, 4), edge=3)
    predicted = cubes((3, 4, 4), edge=3)
    ignored = lesion_scores(predicted, reference, UNIT)
    assert (ignored.dice, ignored.hd95_mm, ignored.true_positives, ignored.false_positives) == (1, 0, 0, 0)
    counted = lesion_scores(predicted, reference, (2.0, 1.0, 1.0))
    assert counted.dice == pytest.approx(2 * 18 / 54)
    assert counted.hd95_mm == 2


def test_empty_prediction_and_empty_both() -> None:
    reference, empty = cubes((2, 4, 4)), cubes()
    assert lesion_scores(empty, reference, UNIT).dice == 0
    assert lesion_scores(empty, reference, UNIT, LesionMatching(missed_mm=7)).hd95_mm == 7
    assert lesion_scores(empty, empty, UNIT).dice == 1
    assert lesion_scores(reference, empty, UNIT).false_positives == 1
