"""Connected components of each tissue, computed once during preprocessing and read by the biased crop."""

from __future__ import annotations

import cc3d
import numpy as np

from brats_ablate.cases import BBox, Component, shape3d

_SMALL = 16
"""Components of at most this extent (voxels) along every axis fit any sensible patch: one sample voxel is enough."""
_SAMPLES = 16


def connected_components(nested: np.ndarray) -> tuple[Component, ...]:
    """Return the 26-connected components of equal tissue of an (X, Y, Z) uint8 nested label map.

    They are ordered by tissue, then by their first voxel; boxes and samples are in the coordinates of `nested`. Samples
    are spread evenly over the component in array order, so equal volumes give equal components.
    """
    box = BBox.around(nested)
    if box is None:
        return ()
    tumor = np.ascontiguousarray(nested[box.slices])
    numbered, count = cc3d.connected_components(tumor, connectivity=26, return_N=True)
    flat = numbered.ravel()
    order = np.argsort(flat, kind="stable")
    starts = np.searchsorted(flat[order], np.arange(1, count + 2))
    components = []
    for k in range(count):
        voxels = np.stack(np.unravel_index(order[starts[k] : starts[k + 1]], numbered.shape), axis=1)
        components.append(_component(int(tumor[tuple(voxels[0])]), voxels + np.array(box.start)))
    return tuple(sorted(components, key=lambda component: (component.tissue, component.samples[0])))


def _component(tissue: int, voxels: np.ndarray) -> Component:
    low, high = voxels.min(axis=0), voxels.max(axis=0) + 1
    count = 1 if (high - low <= _SMALL).all() else _SAMPLES
    samples = voxels[np.linspace(0, len(voxels) - 1, min(count, len(voxels))).round().astype(np.intp)]
    return Component(tissue, len(voxels), BBox(shape3d(low), shape3d(high)), tuple(shape3d(v) for v in samples))
