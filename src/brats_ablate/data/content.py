"""The content hash of a case: of everything that training and evaluation read of it."""

from __future__ import annotations

import hashlib

import numpy as np

from brats_ablate.cases import BBox, ImageGeometry
from brats_ablate.runtime.files import to_json


def content_hash(
    images: np.ndarray, encoded: np.ndarray | None, box: BBox, grid: ImageGeometry, reference: np.ndarray | None
) -> str:
    """Return the sha256 of a case's voxels, labels and geometry; rounding noise of the affine is excluded.

    Args:
        images: (M, X, Y, Z), all channels, C-contiguous, as `reference` and the labels.
        encoded: label map (X, Y, Z) uint8; None for a case without.
        box: the stored region.
        grid: of the original files.
        reference: the label map before resampling; None for a case that was not resampled.
    """
    digest = hashlib.sha256(images.data)
    for array in (encoded, reference):
        if array is not None:
            digest.update(array.data)
    affine = np.round(np.asarray(grid.affine), 6) + 0.0
    head = [str(images.dtype), images.shape, encoded is not None, box.start, box.stop, grid.shape, affine.tolist()]
    digest.update(to_json(head).encode())
    return digest.hexdigest()
