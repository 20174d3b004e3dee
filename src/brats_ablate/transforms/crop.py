"""Biased crop: the paper's first augmentation.

The window is drawn from a case's metadata alone (its shape and its tumor components). The loader then reads exactly
this window from the store.
"""

from __future__ import annotations

import numpy as np

from brats_ablate.cases import BBox, CaseMetadata, Component, SampleKey, Shape3d, shape3d
from brats_ablate.errors import ConfigError
from brats_ablate.runtime.random import rng_for


class BiasedCrop:
    """The paper's biased crop (section 2.2, augmentation 1).

    With probability `tumour_probability` the window contains a piece of tumor: a tissue is drawn among those of the
    case, then one of its connected components, then a window that contains the whole component. Along an axis on which
    the component is longer than the window, the window lies inside it. Otherwise, and in a case without tumor, every
    window is equally likely.

    The paper's released code uses DALI (`random_object_bbox`, `roi_random_crop`), whose window inside the box of a
    large component may miss the component itself. Here it always contains one of its voxels.

    Args:
        shape: patch size in voxels, (X, Y, Z).
        tumour_probability: 0.4 in the paper.

    Raises:
        ConfigError: a size is not positive, or the probability lies outside 0..1.
    """

    def __init__(self, shape: list[int], tumour_probability: float) -> None:
        if len(shape) != 3 or min(shape) < 1:
            raise ConfigError(f"patches.shape={list(shape)} must be three positive numbers of voxels")
        if not 0 <= tumour_probability <= 1:
            raise ConfigError(f"patches.tumour_probability={tumour_probability} must lie between 0 and 1")
        self.shape: Shape3d = (shape[0], shape[1], shape[2])
        self.tumour_probability = tumour_probability

    def sample_bbox(self, record: CaseMetadata, volume_shape: Shape3d, sample_key: SampleKey) -> BBox:
        """Draw the window of a sample in the coordinates of the stored volume.

        Along an axis on which the volume is shorter than the patch, the window exceeds it on both sides by a random
        part of the difference; the reader pads with 0.
        """
        seed, epoch, index = sample_key
        rng = rng_for(seed, "crop", epoch, index)
        room = np.asarray(volume_shape) - self.shape
        low, high = np.minimum(room, 0), np.maximum(room, 0)
        if rng.random() < self.tumour_probability and record.components:
            first, last = self._start_range_containing(_draw_component(record.components, rng), rng)
            low, high = np.maximum(low, first), np.minimum(high, last)
        start = rng.integers(low, high, endpoint=True)
        return BBox(shape3d(start), shape3d(start + self.shape))

    def _start_range_containing(self, component: Component, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Return the lowest and highest window start per axis for the component, or for a voxel of one too long."""
        patch = np.asarray(self.shape)
        low, high = np.asarray(component.box.stop) - patch, np.asarray(component.box.start)
        fits = low <= high
        low, high = np.minimum(low, high), np.maximum(low, high)
        if not fits.all() and component.samples:
            voxel = np.asarray(component.samples[rng.integers(len(component.samples))])
            low = np.where(fits, low, np.maximum(low, voxel - patch + 1))
            high = np.where(fits, high, np.minimum(high, voxel))
        return low, high


def _draw_component(components: tuple[Component, ...], rng: np.random.Generator) -> Component:
    tissues = sorted({component.tissue for component in components})
    tissue = tissues[rng.integers(len(tissues))]
    candidates = [component for component in components if component.tissue == tissue]
    return candidates[rng.integers(len(candidates))]
