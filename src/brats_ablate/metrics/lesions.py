"""Lesion-wise Dice and HD95 of BraTS 2023: every lesion counts once, regardless of its size.

A case's Dice can hide a missed satellite behind a large tumor. Here a missed lesion (false negative) and a predicted
lesion without a reference (false positive) both score the worst value.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from brats_ablate.cases import BBox
from brats_ablate.metrics.dice import dice_from_counts
from brats_ablate.metrics.surface import Spacing, hd95_area_weighted


@dataclass(frozen=True)
class LesionMatching:
    """BraTS 2023's settings for adult glioma."""

    dilation: int = 3
    """Steps of 18-neighbor dilation within which reference components are one lesion, and predictions belong to it."""
    above_mm3: float = 50.0
    """Reference lesions of at most this volume are ignored."""
    missed_mm: float = 374.0
    """HD95 of a false-negative or false-positive lesion."""


@dataclass(frozen=True)
class LesionScores:
    """Means over a case's lesions, with the number of true-positive, false-negative and false-positive lesions."""

    dice: float
    hd95_mm: float
    true_positives: int
    false_negatives: int
    false_positives: int


def lesion_scores(
    predicted: np.ndarray, reference: np.ndarray, spacing_mm: Spacing, matching: LesionMatching | None = None
) -> LesionScores:
    """Return the lesion-wise scores of one region, as the BraTS 2023 evaluation computes them.

    Reference components whose dilations touch are one lesion. A predicted component belongs to every lesion whose
    dilation it touches. Dice and area-weighted HD95 are averaged over the lesions above the volume limit and the false
    positives, the predicted components that belong to no lesion, which score 0 and `missed_mm`. Without any of either:
    Dice 1, HD95 0. The masks are (X, Y, Z) bool; `matching` is BraTS 2023's if None.
    """
    import cc3d

    matching = matching or LesionMatching()
    box = BBox.around(predicted | reference)
    if box is None:
        return LesionScores(1.0, 0.0, 0, 0, 0)
    grown = tuple(
        slice(max(0, s.start - matching.dilation), min(size, s.stop + matching.dilation))
        for s, size in zip(box.slices, reference.shape, strict=True)
    )
    predicted, reference = predicted[grown], reference[grown]
    lesions = cc3d.connected_components(_dilated(reference, matching.dilation), connectivity=26)
    components = cc3d.connected_components(predicted, connectivity=26)
    touching = _touching(lesions, components)

    dice: list[float] = []
    distances_mm: list[float] = []
    true_positives = 0
    voxels = np.bincount(lesions[reference], minlength=int(lesions.max()) + 1)
    for lesion in range(1, len(voxels)):
        if voxels[lesion] * float(np.prod(spacing_mm)) <= matching.above_mm3:
            continue
        lesion_mask = (lesions == lesion) & reference
        matched = np.isin(components, np.flatnonzero(touching[lesion]))
        inner = BBox.around(matched | lesion_mask)
        if not matched.any() or inner is None:
            dice.append(0.0)
            distances_mm.append(matching.missed_mm)
            continue
        true_positives += 1
        both = np.count_nonzero(matched & lesion_mask)
        dice.append(float(dice_from_counts(int(both), int(np.count_nonzero(matched)), int(voxels[lesion]))))
        distances_mm.append(hd95_area_weighted(matched[inner.slices], lesion_mask[inner.slices], spacing_mm))
    false_positives = int((~touching[:, 1:].any(axis=0)).sum())
    count = len(dice) + false_positives
    if count == 0:
        return LesionScores(1.0, 0.0, 0, 0, 0)
    total_mm = sum(distances_mm) + false_positives * matching.missed_mm
    false_negatives = len(dice) - true_positives
    return LesionScores(sum(dice) / count, total_mm / count, true_positives, false_negatives, false_positives)


def _dilated(mask: np.ndarray, steps: int) -> np.ndarray:
    from scipy.ndimage import binary_dilation, generate_binary_structure

    return binary_dilation(mask, generate_binary_structure(3, 2), iterations=steps) if steps else mask


def _touching(lesions: np.ndarray, components: np.ndarray) -> np.ndarray:
    """Return (lesions + 1, components + 1) bool: which lesions and components share a voxel; 0 is the background."""
    shape = (int(lesions.max()) + 1, int(components.max()) + 1)
    pairs = lesions.astype(np.int64) * shape[1] + components
    shared: np.ndarray = (np.bincount(pairs.ravel(), minlength=shape[0] * shape[1]) > 0).reshape(shape)
    shared[0], shared[:, 0] = False, False
    return shared
