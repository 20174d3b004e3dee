"""From a file's own axes to RAS+ and back; what makes LPS, RAS and permuted files of one case equal.

BraTS files come as LPS and as RAS. Axes are only permuted and flipped, by the affine's nearest axes: no voxel is
interpolated, so the way back is exact.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import nibabel as nib
import numpy as np

from brats_ablate.cases import Shape3d


@dataclass(frozen=True)
class Orientation:
    """How the axes of one file map to RAS+ (x to the right, y to the front, z up)."""

    axes: Shape3d
    """For each RAS+ axis, the file axis that runs along it."""
    flipped: tuple[bool, bool, bool]
    """For each RAS+ axis, whether the file runs the other way."""

    @staticmethod
    def of(affine: np.ndarray) -> Orientation:
        """The orientation of a 4 × 4 affine; ValueError if two axes run along the same direction or one along none."""
        mapping = nib.io_orientation(np.asarray(affine))
        if np.isnan(mapping).any():
            raise ValueError("its affine drops an axis")
        x, y, z = (int(np.flatnonzero(mapping[:, 0] == k)[0]) for k in range(3))
        return Orientation((x, y, z), (mapping[x, 1] < 0, mapping[y, 1] < 0, mapping[z, 1] < 0))

    def shape(self, file_shape: Shape3d) -> Shape3d:
        """The RAS+ shape of a file of `file_shape`."""
        x, y, z = self.axes
        return (file_shape[x], file_shape[y], file_shape[z])

    def to_ras(self, array: np.ndarray) -> np.ndarray:
        """A view of (..., file axes) as (..., X, Y, Z) in RAS+."""
        lead = array.ndim - 3
        array = array.transpose(*range(lead), *(lead + a for a in self.axes))
        return array[self._steps()]

    def from_ras(self, array: np.ndarray) -> np.ndarray:
        """The inverse of `to_ras`, also a view."""
        lead = array.ndim - 3
        back = (lead + int(a) for a in np.argsort(self.axes))
        return array[self._steps()].transpose(*range(lead), *back)

    def _steps(self) -> tuple[Any, ...]:
        return (..., *(slice(None, None, -1 if flip else 1) for flip in self.flipped))
