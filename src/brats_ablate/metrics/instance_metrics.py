"""The metrics of BraTS 2026 for one case: global, per matched instance, and of detection.

The challenge computes them with its package brats-evaluation (0.0.10), which is built on panoptica (Kofler et al. 2023,
arXiv:2312.02608). Its rules, which are followed here:

- Instances are the 26-connected components of a region. Predicted and reference instances are matched one to one, so
  that the sum of the pairs' Dice is largest. A pair must share a voxel.
- Lesion-wise Dice, NSD and HD95 are means over the matched pairs. The unmatched instances are the false negatives and
  false positives of precision, recall and F1.
- A region empty in both has no score: all are NaN but the counts. Without any matched pair, lesion-wise Dice and NSD
  are 0 and HD95 is the worst one; so are the global scores where the two regions do not overlap. Precision is NaN
  without a predicted instance, recall without one in the reference.
- HD95 is the 95th percentile of both directions, pooled, over border voxels. NSD is the mean of the two shares of
  border voxels near the other border: within the smallest edge of a voxel for instances, within half of it for the
  region.

The package measures global distances in voxels, here they are in mm: the same for voxels of 1 mm, which the challenge
has.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from brats_ablate.cases import BBox
from brats_ablate.labels.scheme import LabelScheme
from brats_ablate.metrics.case_metrics import RegionMetric, cropped_to_tumor, own_scores, require_new_names
from brats_ablate.metrics.dice import dice_from_counts
from brats_ablate.metrics.surface import Spacing, SurfaceDistances, between_border_voxels, pooled_95

INSTANCE_METRICS = [
    *("dice", "nsd", "hd95", "lesion_dice", "lesion_nsd", "lesion_hd95", "lesions_found", "lesions_missed"),
    *("lesions_invented", "lesion_precision", "lesion_recall", "lesion_f1", "reference_voxels", "predicted_voxels"),
]
"""All metrics of `InstanceMetrics`."""
_ROUNDING = 1 + 1e-6
"""Distances are computed in float32 where voxels are not cubes of 1 mm."""
_SMALLEST_DICE = 1e-6
"""Of a pair that can match; also what a match adds to the sum of Dice, as in panoptica's matching."""


@dataclass(frozen=True)
class InstanceMetrics:
    """Scores of every region, and of every tissue that is not a region by itself."""

    name: str
    """The option of `metrics`."""
    worst_mm: float
    """HD95 without any overlap; the package writes 373 (globally) or infinity (lesion-wise)."""
    extra: Mapping[str, RegionMetric] | None = None
    """Further metrics by name."""

    def __post_init__(self) -> None:
        require_new_names(self.extra or {}, INSTANCE_METRICS)

    @property
    def policy(self) -> str:
        """Definitions of the metrics, in one sentence, printed with a table."""
        return (
            f"metrics={self.name}: a region empty in both has no score and is left out of means; without overlap: Dice "
            f"and NSD 0, HD95 {self.worst_mm:g} mm; lesion-wise scores are means over one-to-one matched instances; "
            "HD95 of both directions, pooled; NSD within half a voxel, lesion-wise within one"
        )

    def __call__(
        self, predicted: np.ndarray, reference: np.ndarray, spacing_mm: Spacing, labels: LabelScheme
    ) -> dict[tuple[str, str], float]:
        """Return (region or tissue, metric) -> value of two (X, Y, Z) uint8 label maps; NaN where undefined.

        Raises:
            ValueError: the two shapes differ.
        """
        predicted, reference = cropped_to_tumor(predicted, reference)
        both = zip(_masks(predicted, labels).items(), _masks(reference, labels).values(), strict=True)
        return {
            (region, metric): float(value)
            for (region, p), r in both
            for metric, value in self._region(p, r, spacing_mm).items()
        }

    def _region(self, predicted: np.ndarray, reference: np.ndarray, spacing_mm: Spacing) -> dict[str, float]:
        own = own_scores(self.extra or {}, predicted, reference, spacing_mm)
        box = BBox.around(predicted | reference)
        if box is None:
            undefined = dict.fromkeys(INSTANCE_METRICS, math.nan)
            counts = ("lesions_found", "lesions_missed", "lesions_invented", "reference_voxels", "predicted_voxels")
            return undefined | dict.fromkeys(counts, 0.0) | own
        predicted, reference = predicted[box.slices], reference[box.slices]
        p, r = int(np.count_nonzero(predicted)), int(np.count_nonzero(reference))
        both = int(np.count_nonzero(predicted & reference))
        scores: dict[str, float] = {"dice": 0.0, "nsd": 0.0, "hd95": self.worst_mm}
        distances = between_border_voxels(predicted, reference, spacing_mm) if both else None
        if distances is not None:
            scores = {
                "dice": float(dice_from_counts(both, p, r)),
                "nsd": mean_share_within(distances, min(spacing_mm) / 2),
                "hd95": pooled_95(distances),
            }
        return (
            scores
            | {"reference_voxels": r, "predicted_voxels": p}
            | self._instances(predicted, reference, spacing_mm, distances)
            | own
        )

    def _instances(
        self, predicted: np.ndarray, reference: np.ndarray, spacing_mm: Spacing, of_region: SurfaceDistances | None
    ) -> dict[str, float]:
        """Return the scores of detection and of matched instances; `of_region` are those between the two regions."""
        import cc3d

        p, r = (cc3d.connected_components(mask, connectivity=26) for mask in (predicted, reference))
        of_p, of_r = (cc3d.statistics(c, no_slice_conversion=True) for c in (p, r))
        n_p, n_r = len(of_p["voxel_counts"]) - 1, len(of_r["voxel_counts"]) - 1
        scores = []
        for i, j, dice in matched_pairs(p, r, of_p["voxel_counts"], of_r["voxel_counts"]):
            boxes = of_p["bounding_boxes"][i], of_r["bounding_boxes"][j]
            ends = np.minimum(*(b[::2] for b in boxes)), np.maximum(*(b[1::2] for b in boxes))
            box = tuple(slice(int(low), int(high) + 1) for low, high in zip(*ends, strict=True))
            distances = of_region
            if distances is None or n_p > 1 or n_r > 1:
                distances = between_border_voxels(p[box] == i, r[box] == j, spacing_mm)
            scores.append((dice, mean_share_within(distances, min(spacing_mm)), pooled_95(distances)))
        found = len(scores)
        means = np.mean(scores, axis=0).tolist() if found else [0.0, 0.0, self.worst_mm]
        return {
            **dict(zip(("lesion_dice", "lesion_nsd", "lesion_hd95"), means, strict=True)),
            "lesions_found": found,
            "lesions_missed": n_r - found,
            "lesions_invented": n_p - found,
            "lesion_precision": found / n_p if n_p else math.nan,
            "lesion_recall": found / n_r if n_r else math.nan,
            "lesion_f1": 2 * found / (n_p + n_r),
        }


def matched_pairs(
    predicted: np.ndarray, reference: np.ndarray, predicted_sizes: np.ndarray, reference_sizes: np.ndarray
) -> list[tuple[int, int, float]]:
    """Match the instances of two label maps (X, Y, Z) one to one, so that the sum of the pairs' Dice is largest.

    Instances are numbered from 1; the sizes are their voxels by number, background first. Returns (predicted instance,
    reference instance, Dice) of each pair.
    """
    from scipy.optimize import linear_sum_assignment
    from scipy.sparse import coo_array

    shared = (predicted > 0) & (reference > 0)
    if not shared.any():
        return []
    ones, shape = np.ones(np.count_nonzero(shared), dtype=np.int64), (len(predicted_sizes), len(reference_sizes))
    voxels = coo_array((ones, (predicted[shared], reference[shared])), shape=shape).tocsr()
    pairs, both = np.stack(voxels.nonzero()), voxels.data
    sizes = (of[ids].astype(np.int64) for of, ids in zip((predicted_sizes, reference_sizes), pairs, strict=True))
    dice = dice_from_counts(both, *sizes)
    can_match = dice >= _SMALLEST_DICE
    pairs, dice = pairs[:, can_match], dice[can_match]
    (p_ids, rows), (r_ids, columns) = (np.unique(ids, return_inverse=True) for ids in pairs)
    value = np.zeros((len(p_ids), len(r_ids)))
    value[rows, columns] = dice + _SMALLEST_DICE
    chosen = zip(*linear_sum_assignment(value, maximize=True), strict=True)
    return [(int(p_ids[i]), int(r_ids[j]), float(value[i, j] - _SMALLEST_DICE)) for i, j in chosen if value[i, j] > 0]


def mean_share_within(distances: SurfaceDistances, tolerance_mm: float) -> float:
    """Return panoptica's NSD: the mean of the two shares of border voxels within the tolerance of the other border."""
    shares = [np.mean(mm <= tolerance_mm * _ROUNDING) for mm in (distances.predicted_mm, distances.reference_mm)]
    return float(np.mean(shares))


def _masks(encoded: np.ndarray, labels: LabelScheme) -> dict[str, np.ndarray]:
    """Return the masks of the regions, then of the tissues that are not regions."""
    regions = dict(zip(labels.region_names, labels.to_regions_np(encoded), strict=True))
    tissues = [t for t in labels.tissues if labels.channel(t) is None and t not in regions]
    return regions | {tissue: encoded == labels.label(tissue) for tissue in tissues}
