"""The three planes of a case: which slice of each to show, and its pixels in radiological orientation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class Plane:
    """An orthogonal plane of RAS+ volumes (X, Y, Z)."""

    name: str
    axis: int
    """The axis that it is orthogonal to."""
    left: str
    """Where the left edge of an upright slice lies: R(ight) of the patient, or A(nterior)."""
    right: str

    def upright(self, volume: np.ndarray, index: int) -> np.ndarray:
        """Return a slice of (X, Y, Z) as (rows, columns): front or head up, the patient's right or front left."""
        pixels: np.ndarray = volume.take(index, axis=self.axis).T[::-1, ::-1]
        return pixels

    def pixel_mm(self, spacing_mm: tuple[float, float, float]) -> tuple[float, float]:
        """Return height and width of a pixel of voxels with these edges along X, Y, Z."""
        width, height = (edge for axis, edge in enumerate(spacing_mm) if axis != self.axis)
        return height, width


AXIAL = Plane("axial", 2, "R", "L")
PLANES = (AXIAL, Plane("coronal", 1, "R", "L"), Plane("sagittal", 0, "A", "P"))


@dataclass(frozen=True)
class CaseSlice:
    """One slice of a case, upright; all arrays are (rows, columns)."""

    plane: Plane
    images: Mapping[str, np.ndarray]
    """Brightness by modality, uint8."""
    predicted: np.ndarray
    """Label map."""
    reference: np.ndarray | None
    """Label map; None for a case without."""
    pixel_mm: tuple[float, float]
    """Height and width."""
    position: str | None = None
    """Where the slice is, e.g. "k = 81" for voxel indices (i, j, k) of the files."""


def largest_tumor_slice(labels: np.ndarray, plane: Plane = AXIAL) -> int:
    """Return the slice of (X, Y, Z) labels with the largest tumor area; the middle one if there is no tumor."""
    return _fullest_slice(labels > 0, plane)


def largest_error_slice(predicted: np.ndarray, reference: np.ndarray | None, plane: Plane) -> int:
    """Return the slice with the most voxels that differ between two label maps (X, Y, Z).

    Without any, the one with the largest area of the reference's tumor, or of the predicted one where there is no
    reference or it is empty.
    """
    wrong = None if reference is None else predicted != reference
    if wrong is not None and wrong.any():
        return _fullest_slice(wrong, plane)
    return largest_tumor_slice(predicted if reference is None or not reference.any() else reference, plane)


def _fullest_slice(mask: np.ndarray, plane: Plane) -> int:
    counts = mask.sum(axis=tuple(axis for axis in range(3) if axis != plane.axis))
    return int(counts.argmax()) if counts.any() else mask.shape[plane.axis] // 2
