"""Resample a case to other voxel edges (`data.spacing`), and label maps back to the grid of the files.

The new grid has the axes and the center of the original one, in RAS+ order, so an oblique image stays oblique. All
interpolation is SciPy's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from brats_ablate.cases import ImageGeometry, Shape3d, shape3d
from brats_ablate.data.nifti import Orientation

_TOLERANCE = 1e-3
"""Relative difference of voxel edges below which they are equal: headers round them."""


@dataclass(frozen=True)
class Resampling:
    """The mapping between the RAS+ voxels of the files and those of another spacing."""

    original: Shape3d
    resampled: Shape3d
    step: tuple[float, ...]
    """Distance between two resampled voxels, in original voxels, per axis."""

    @staticmethod
    def of(grid: ImageGeometry, spacing_mm: Sequence[float]) -> Resampling | None:
        """Return the mapping from `grid` to voxel edges along the RAS+ axes; None if the grid has these already."""
        axes = Orientation.of(np.asarray(grid.affine)).axes
        own_mm = np.array([grid.spacing_mm[axis] for axis in axes])
        if np.allclose(own_mm, spacing_mm, rtol=_TOLERANCE, atol=0):
            return None
        step = np.asarray(spacing_mm) / own_mm
        original = shape3d([grid.shape[axis] for axis in axes])
        return Resampling(original, shape3d(np.maximum(1, np.rint(original / step))), tuple(step.tolist()))

    def image(self, volume: np.ndarray) -> np.ndarray:
        """Resample an image (X, Y, Z) by cubic splines; whole numbers stay whole, and exact zeros the background.

        A voxel is background where the nearest original voxel is. The others stay within the range of the original's
        foreground, as splines overshoot at the edge of a brain, and are never 0.
        """
        nearest = self.labels(volume)
        foreground = volume[volume != 0]
        if foreground.size == 0:
            return nearest
        cubic = self._sampled(volume.astype(np.float64), order=3)
        if volume.dtype.kind in "iu" or (foreground == np.rint(foreground)).all():
            cubic = np.rint(cubic)
        cubic = np.clip(cubic, foreground.min(), foreground.max()).astype(volume.dtype)
        return np.where((nearest != 0) & (cubic != 0), cubic, nearest)

    def labels(self, volume: np.ndarray) -> np.ndarray:
        """Resample a label map (X, Y, Z) by the nearest voxel; of `volume`'s type."""
        return self._sampled(volume, order=0)

    def labels_back(self, volume: np.ndarray) -> np.ndarray:
        """Return a resampled label map (X, Y, Z) on the original voxels; of `volume`'s type.

        A voxel takes the label with the greatest weight in linear interpolation. Where the original voxels are the
        smaller ones this is smoother than the nearest label.
        """
        back = Resampling(self.resampled, self.original, tuple(1 / step for step in self.step))
        labels = np.zeros(self.original, dtype=volume.dtype)
        greatest = np.zeros(self.original, dtype=np.float32)
        for label in np.unique(volume):
            weight = back._sampled((volume == label).astype(np.float32), order=1)
            larger = weight > greatest
            labels[larger], greatest[larger] = label, weight[larger]
        return labels

    def _sampled(self, volume: np.ndarray, order: int) -> np.ndarray:
        from scipy.ndimage import affine_transform

        centers = [(np.asarray(shape) - 1) / 2 for shape in (self.original, self.resampled)]
        offset = centers[0] - np.asarray(self.step) * centers[1]
        sampled: np.ndarray = affine_transform(
            volume, self.step, offset, output_shape=self.resampled, order=order, mode="nearest"
        )
        return sampled
