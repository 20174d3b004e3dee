"""Calibration of region probabilities: reliability bins, expected calibration error (ECE) and Brier score.

Bins have equal widths and contain their upper edge, as in Guo et al., "On Calibration of Modern Neural Networks" (ICML
2017). Nearly all voxels of a brain are far from any tumor and have a probability near 0, so the ECE over the brain is
small for every network. Therefore it is also computed near the tumor (cf. Mehrtash et al., "Confidence Calibration and
Predictive Uncertainty Estimation for Deep Medical Image Segmentation", IEEE TMI 2020).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from brats_ablate.cases import BBox
from brats_ablate.metrics.surface import Spacing

_ONE = int(np.array(1, np.float16).view(np.uint16))
"""Bits of the float16 1: those of all float16 in [0, 1] are the integers from 0 to this, in the same order."""
_VALUES = np.arange(_ONE + 1, dtype=np.uint16).view(np.float16).astype(np.float64)
_PREDICTED = 0.5
"""Probability from which a voxel is tumor, for `near_tumor`."""


@dataclass(frozen=True)
class Reliability:
    """Sums over the voxels of one region, by bin of probability; those of several cases can be added."""

    counts: np.ndarray
    """(B,) voxels."""
    confidence_sums: np.ndarray
    """(B,) sums of the probabilities."""
    positives: np.ndarray
    """(B,) voxels that are in the region."""
    squared_error: float
    """Sum over all voxels."""

    def __add__(self, other: Reliability) -> Reliability:
        return Reliability(
            self.counts + other.counts,
            self.confidence_sums + other.confidence_sums,
            self.positives + other.positives,
            self.squared_error + other.squared_error,
        )

    @property
    def voxels(self) -> int:
        """Number of voxels."""
        return int(self.counts.sum())

    @property
    def ece(self) -> float:
        """Mean over voxels of |mean probability - observed frequency| of their bin; NaN without voxels."""
        gaps = np.abs(self.confidence_sums - self.positives).sum()
        return float(gaps / self.voxels) if self.voxels else math.nan

    @property
    def brier(self) -> float:
        """Mean squared difference of probability and truth (0 or 1); NaN without voxels."""
        return self.squared_error / self.voxels if self.voxels else math.nan

    @property
    def confidence(self) -> list[float]:
        """Mean probability of each bin; NaN for an empty one."""
        return self._per_voxel(self.confidence_sums)

    @property
    def frequency(self) -> list[float]:
        """Share of each bin's voxels that are in the region; NaN for an empty bin."""
        return self._per_voxel(self.positives)

    def _per_voxel(self, sums: np.ndarray) -> list[float]:
        return [float(s / n) if n else math.nan for s, n in zip(sums, self.counts, strict=True)]


def reliability(probabilities: np.ndarray, reference: np.ndarray, bins: int) -> Reliability:
    """Return the sums of one region; both arrays have one value for each voxel, float16 and bool.

    All sums come from one histogram over the 15,361 float16 in [0, 1], so they are exact.

    Raises:
        ValueError: a probability outside [0, 1], or of another type than float16; or the shapes differ.
    """
    if probabilities.shape != reference.shape or probabilities.dtype != np.float16:
        raise ValueError(f"probabilities {probabilities.dtype}{probabilities.shape}, reference {reference.shape}")
    bits = (np.ascontiguousarray(probabilities) + np.float16(0)).view(np.uint16).ravel()  # + 0: no negative zero
    if bits.size and bits.max() > _ONE:
        raise ValueError("probabilities must lie in [0, 1]")
    total = np.bincount(bits, minlength=_ONE + 1)
    positive = np.bincount(bits[reference.ravel()], minlength=_ONE + 1)
    bin_of_value = np.searchsorted(np.linspace(0, 1, bins + 1)[1:-1], _VALUES)  # an edge belongs to the lower bin
    return Reliability(
        np.bincount(bin_of_value, total, bins).astype(np.int64),
        np.bincount(bin_of_value, total * _VALUES, bins),
        np.bincount(bin_of_value, positive, bins).astype(np.int64),
        float(((total - positive) * _VALUES**2 + positive * (1 - _VALUES) ** 2).sum()),
    )


def near_tumor(
    probabilities: np.ndarray, reference: np.ndarray, brain: np.ndarray, spacing_mm: Spacing, margin_mm: float
) -> np.ndarray:
    """Return the voxels of the brain within a distance of any tumor, of the reference or predicted (p ≥ 0.5).

    Both are needed: around the reference alone, false positives would be left out; around the prediction alone, missed
    tumors.

    Args:
        probabilities: (R, X, Y, Z) of the regions.
        reference: (R, X, Y, Z) bool.
        brain: (X, Y, Z) bool.
        spacing_mm: voxel edges along X, Y, Z.
        margin_mm: the distance, between centers of voxels.

    Returns:
        (X, Y, Z) bool.
    """
    from edt import edt

    tumor = np.any(reference, axis=0) | np.any(probabilities >= _PREDICTED, axis=0)
    near = np.zeros_like(brain)
    box = BBox.around(tumor)
    if box is None:
        return near
    reach = [math.ceil(margin_mm / edge) for edge in spacing_mm]
    grown = tuple(slice(max(0, start - r), stop + r) for start, stop, r in zip(box.start, box.stop, reach, strict=True))
    outside = (~tumor[grown]).view(np.uint8)
    near[grown] = (edt(outside, anisotropy=spacing_mm, black_border=False) <= margin_mm) & brain[grown]
    return near


def mean_defined(values: Sequence[float]) -> float:
    """Return the mean of the values that are not NaN; NaN if there is none."""
    defined = [value for value in values if not math.isnan(value)]
    return math.fsum(defined) / len(defined) if defined else math.nan
