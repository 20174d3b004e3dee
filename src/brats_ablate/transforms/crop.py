"""Where a training patch is cut from a case: the first of the paper's augmentations.

The sampler looks at a case's record only (its shape and the blobs of its tumour), so choosing a window costs
no reading; the loader then reads exactly that window from the store.
"""

from __future__ import annotations

import numpy as np

from brats_ablate.cases import BBox, CaseMetadata, Component, Shape3d
from brats_ablate.errors import ConfigError
from brats_ablate.runtime.random import rng_for


class BiasedCrop:
    """The paper's biased crop (section 2.2, augmentation 1).

    With probability `tumour_probability` the window holds a piece of tumour: a tissue is drawn among those of
    the case, then one of its connected blobs, then a window that holds the whole blob; along an axis on which
    the blob is longer than the window, a window inside the blob. Otherwise, and in a case without tumour,
    every window is equally likely.

    The paper's released code leaves this to DALI (`random_object_bbox`, `roi_random_crop`), whose window
    inside a large blob's box may miss the blob itself; here it always holds one of the blob's voxels.

    Args:
        shape: patch size in voxels, (X, Y, Z).
        tumour_probability: 0.4 in the paper.

    Raises:
        ConfigError: a size that is not positive, or a probability outside 0..1.
    """

    def __init__(self, shape: list[int], tumour_probability: float) -> None:
        if len(shape) != 3 or min(shape) < 1:
            raise ConfigError(f"patches.shape={list(shape)} must be three positive numbers of voxels")
        if not 0 <= tumour_probability <= 1:
            raise ConfigError(f"patches.tumour_probability={tumour_probability} must lie between 0 and 1")
        self.shape: Shape3d = (shape[0], shape[1], shape[2])
        self.tumour_probability = tumour_probability

    def window(self, record: CaseMetadata, volume_shape: Shape3d, counters: tuple[int, int, int]) -> BBox:
        """The window of sample `counters` = (seed, epoch, index), in the coordinates of the stored volume.

        Along an axis on which the volume is shorter than the patch, the window exceeds it on both sides by a
        random share of what is missing; the reader pads with 0.
        """
        seed, epoch, index = counters
        rng = rng_for(seed, "crop", epoch, index)
        room = np.asarray(volume_shape) - self.shape
        low, high = np.minimum(room, 0), np.maximum(room, 0)
        if rng.random() < self.tumour_probability and record.components:
            blob_low, blob_high = self._starts_holding(_draw_blob(record.components, rng), rng)
            low, high = np.maximum(low, blob_low), np.minimum(high, blob_high)
        start = rng.integers(low, high, endpoint=True)
        return BBox(_shape(start), _shape(start + self.shape))

    def _starts_holding(self, blob: Component, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Lowest and highest window start per axis that hold the blob, or a voxel of one that is too long."""
        patch = np.asarray(self.shape)
        low, high = np.asarray(blob.box.stop) - patch, np.asarray(blob.box.start)
        fits = low <= high
        low, high = np.minimum(low, high), np.maximum(low, high)
        if not fits.all() and blob.samples:
            voxel = np.asarray(blob.samples[rng.integers(len(blob.samples))])
            low = np.where(fits, low, np.maximum(low, voxel - patch + 1))
            high = np.where(fits, high, np.minimum(high, voxel))
        return low, high


def _draw_blob(blobs: tuple[Component, ...], rng: np.random.Generator) -> Component:
    tissues = sorted({blob.tissue for blob in blobs})
    tissue = tissues[rng.integers(len(tissues))]
    candidates = [blob for blob in blobs if blob.tissue == tissue]
    return candidates[rng.integers(len(candidates))]


def _shape(values: np.ndarray) -> Shape3d:
    x, y, z = (int(v) for v in values)
    return (x, y, z)
