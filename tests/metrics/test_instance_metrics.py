from __future__ import annotations

import math
from itertools import permutations

import numpy as np
import pytest
from medpy.metric.binary import hd95
from schemes import BRATS2021

from brats_ablate.metrics.instance_metrics import InstanceMetrics, matched_pairs, mean_share_within
from brats_ablate.metrics.surface import between_border_voxels

SCORER = InstanceMetrics("brats2026", 373.0)
UNIT = (1.0, 1.0, 1.0)


def balls(*edges: tuple[int, int, int, int]) -> np.ndarray:
    """Label map with enhancing cubes: (x, y, z, edge) each."""
    encoded = np.zeros((30, 30, 30), dtype=np.uint8)
    for x, y, z, edge in edges:
        encoded[x : x + edge, y : y + edge, z : z + edge] = 3
    return encoded


def test_counts_and_means_by_hand() -> None:
    """Of three lesions one is exact, one shifted by a voxel and one missed; one is invented."""
    reference = balls((1, 1, 1, 4), (12, 12, 12, 6), (24, 1, 1, 3))
    predicted = balls((1, 1, 1, 4), (13, 12, 12, 6), (1, 24, 24, 2))
    scores = SCORER(predicted, reference, UNIT, BRATS2021)
    of_et = {metric: value for (region, metric), value in scores.items() if region == "ET"}
    assert [of_et[m] for m in ("lesions_found", "lesions_missed", "lesions_invented")] == [2, 1, 1]
    assert [of_et[m] for m in ("lesion_precision", "lesion_recall", "lesion_f1")] == pytest.approx([2 / 3] * 3)
    assert of_et["lesion_dice"] == pytest.approx((1 + 5 / 6) / 2)
    assert of_et["lesion_hd95"] == pytest.approx((0 + 1) / 2)
    assert of_et["lesion_nsd"] == 1  # within one voxel
    assert of_et["dice"] == pytest.approx(2 * (64 + 180) / (64 + 216 + 27 + 64 + 216 + 8))
    assert of_et["hd95"] == pytest.approx(hd95(predicted == 3, reference == 3))


@pytest.mark.parametrize(
    ("predicted", "reference", "undefined"),
    [
        (balls((1, 1, 1, 4)), balls((20, 20, 20, 4)), ()),
        (balls((1, 1, 1, 4)), balls(), ("lesion_recall",)),
        (balls(), balls((1, 1, 1, 4)), ("lesion_precision",)),
    ],
)
def test_no_overlap_has_the_worst_score(
    predicted: np.ndarray, reference: np.ndarray, undefined: tuple[str, ...]
) -> None:
    scores = SCORER(predicted, reference, UNIT, BRATS2021)
    for metric in ("dice", "nsd", "lesion_dice", "lesion_nsd", "lesion_f1", "lesions_found"):
        assert scores["ET", metric] == 0
    assert scores["ET", "hd95"] == scores["ET", "lesion_hd95"] == 373
    assert {m for (region, m), value in scores.items() if region == "ET" and math.isnan(value)} == set(undefined)


def test_matching_is_the_best_of_all_permutations() -> None:
    generator = np.random.default_rng(3)
    for _ in range(20):
        p, r = (generator.integers(0, 5, (6, 6, 6)) for _ in range(2))
        dice = np.array([[2 * ((p == i) & (r == j)).sum() / ((p == i).sum() + (r == j).sum()) for j in range(1, 5)]
                         for i in range(1, 5)])  # fmt: skip
        best = max(sum(dice[i, j] for i, j in enumerate(order)) for order in permutations(range(4)))
        pairs = matched_pairs(p, r, np.bincount(p.ravel()), np.bincount(r.ravel()))
        assert sum(d for *_, d in pairs) == pytest.approx(best)
        assert all(d == pytest.approx(dice[i - 1, j - 1]) for i, j, d in pairs)


def test_surface_share_by_hand() -> None:
    """Two plates of one voxel, two voxels apart; the spacing decides which tolerance holds them together."""
    p, r = np.zeros((2, 5, 4, 4), dtype=bool)
    p[1], r[3] = True, True
    for spacing, tolerance, share in ((0.7, 1.4, 1.0), (0.7, 1.39, 0.0), (0.5, 1.0, 1.0)):
        distances = between_border_voxels(p, r, (spacing, 1.0, 1.0))
        assert mean_share_within(distances, tolerance) == share


def test_own_metrics_join_and_cannot_replace_one() -> None:
    own = InstanceMetrics("mine", 373.0, extra={"voxels": lambda p, r, spacing: float(p.sum() - r.sum())})
    assert own(balls((1, 1, 1, 2)), balls(), UNIT, BRATS2021)["ET", "voxels"] == 8
    with pytest.raises(ValueError, match=r"extra\.Dice is the name of a built-in metric"):
        InstanceMetrics("mine", 373.0, extra={"Dice": lambda p, r, spacing: 0.0})


def test_grids_must_agree() -> None:
    with pytest.raises(ValueError, match="not on one grid"):
        SCORER(np.zeros((2, 2, 2), np.uint8), np.zeros((2, 2, 3), np.uint8), UNIT, BRATS2021)
