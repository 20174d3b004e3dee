"""Lesion-wise Dice and HD95 of BraTS 2023: every lesion counts once, whatever its size.

On the flow: one region's masks in, two numbers out. Where a case's Dice hides a missed satellite behind a large tumour,
these do not: a lesion that is missed and a lesion that is invented both score the worst value.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from brats_ablate.metrics.surface import Spacing, bounding_box, hd95_area_weighted


@dataclass(frozen=True)
class LesionMatching:
    """BraTS 2023's settings for adult glioma."""

    dilation: int = 3
    """Steps of 18-neighbour dilation within which reference components are one lesion, and predictions belong to it."""
    above_mm3: float = 50.0
    """Reference lesions of at most this volume are ignored."""
    missed_mm: float = 374.0
    """HD95 of a lesion that is missed or invented."""


@dataclass(frozen=True)
class LesionScores:
    """The case's means over its lesions, with the lesions' fate."""

    dice: float
    hd95_mm: float
    found: int
    missed: int
    invented: int


def lesion_scores(
    predicted: np.ndarray, reference: np.ndarray, spacing_mm: Spacing, rules: LesionMatching | None = None
) -> LesionScores:
    """Lesion-wise scores of one region, as the BraTS 2023 evaluation computes them.

    Reference components whose dilations touch are one lesion; every predicted component that touches a lesion's
    dilation belongs to it (to several, if it touches several). Dice and HD95 (area-weighted) of each lesion above the
    volume limit are summed, each predicted component that belongs to no lesion adds a 0 and a `missed_mm`, and both
    sums are divided by the number of summands. With none at all: Dice 1, HD95 0.

    Args:
        predicted: (X, Y, Z) bool.
        reference: (X, Y, Z) bool.
        spacing_mm: voxel edges.
        rules: BraTS 2023's unless given.
    """
    import cc3d

    rules = rules or LesionMatching()
    box = bounding_box(predicted | reference)
    if box is None:
        return LesionScores(1.0, 0.0, 0, 0, 0)
    grown = tuple(
        slice(max(0, s.start - rules.dilation), min(size, s.stop + rules.dilation))
        for s, size in zip(box, reference.shape, strict=True)
    )
    predicted, reference = predicted[grown], reference[grown]
    neighbourhood = cc3d.connected_components(_dilated(reference, rules.dilation), connectivity=26)
    components = cc3d.connected_components(predicted, connectivity=26)
    touching = _touching(neighbourhood, components)

    dice, distances, found = [], [], 0
    voxels = np.bincount(neighbourhood[reference], minlength=int(neighbourhood.max()) + 1)
    for lesion in range(1, len(voxels)):
        if voxels[lesion] * float(np.prod(spacing_mm)) <= rules.above_mm3:
            continue
        lesion_mask = (neighbourhood == lesion) & reference
        own = np.isin(components, np.flatnonzero(touching[lesion]))
        if own.any():
            found += 1
            dice.append(2 * np.count_nonzero(own & lesion_mask) / (np.count_nonzero(own) + voxels[lesion]))
            inner = bounding_box(own | lesion_mask)
            distances.append(hd95_area_weighted(own[inner], lesion_mask[inner], spacing_mm))
        else:
            dice.append(0.0)
            distances.append(rules.missed_mm)
    invented = int((~touching[:, 1:].any(axis=0)).sum())
    count = len(dice) + invented
    if count == 0:
        return LesionScores(1.0, 0.0, 0, 0, 0)
    total_mm = sum(distances) + invented * rules.missed_mm
    return LesionScores(float(sum(dice)) / count, float(total_mm) / count, found, len(dice) - found, invented)


def _dilated(mask: np.ndarray, steps: int) -> np.ndarray:
    from scipy.ndimage import binary_dilation, generate_binary_structure

    return binary_dilation(mask, generate_binary_structure(3, 2), iterations=steps) if steps else mask


def _touching(neighbourhood: np.ndarray, components: np.ndarray) -> np.ndarray:
    """(lesions + 1, components + 1) bool: which lesions and components share a voxel; 0 is the background."""
    shape = (int(neighbourhood.max()) + 1, int(components.max()) + 1)
    pairs = neighbourhood.astype(np.int64) * shape[1] + components
    shared = (np.bincount(pairs.ravel(), minlength=shape[0] * shape[1]) > 0).reshape(shape)
    shared[0], shared[:, 0] = False, False
    return shared
