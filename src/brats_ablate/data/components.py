"""Connected components of each tissue, found once at preparation for the biased crop to choose from.

The paper's code finds them again for every patch; here the sampler reads a list.
"""

from __future__ import annotations

import cc3d
import numpy as np

from brats_ablate.cases import BBox, Component, Shape3d

_SMALL = 16
"""Blobs of at most this extent (voxels) along every axis fit any sensible patch: one sample voxel is enough."""
_SAMPLES = 16


def connected_components(depth: np.ndarray) -> tuple[Component, ...]:
    """The 26-connected components of equal tissue.

    Args:
        depth: (X, Y, Z) uint8 nesting depths.

    Returns:
        Blobs ordered by tissue, then by their first voxel; boxes and samples in the coordinates of `depth`. Samples
        are spread evenly over the component in array order: the same volume always gives the same blobs.
    """
    origin, inside = _tumour_box(depth)
    if inside.size == 0:
        return ()
    components, count = cc3d.connected_components(inside, connectivity=26, return_N=True)
    flat = components.ravel()
    order = np.argsort(flat, kind="stable")
    starts = np.searchsorted(flat[order], np.arange(1, count + 2))
    blobs = []
    for k in range(count):
        voxels = np.stack(np.unravel_index(order[starts[k] : starts[k + 1]], components.shape), axis=1)
        blobs.append((int(inside[tuple(voxels[0])]), _blob(int(inside[tuple(voxels[0])]), voxels + origin)))
    blobs.sort(key=lambda pair: (pair[0], pair[1].samples[0]))
    return tuple(blob for _, blob in blobs)


def _tumour_box(depth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Corner and contiguous copy of the smallest box that holds every labelled voxel."""
    where = [np.flatnonzero(depth.any(axis=other)) for other in ((1, 2), (0, 2), (0, 1))]
    if where[0].size == 0:
        return np.zeros(3, dtype=np.intp), depth[:0]
    origin = np.array([w[0] for w in where])
    return origin, np.ascontiguousarray(depth[tuple(slice(w[0], w[-1] + 1) for w in where)])


def _blob(tissue: int, voxels: np.ndarray) -> Component:
    low, high = voxels.min(axis=0), voxels.max(axis=0) + 1
    wanted = 1 if (high - low <= _SMALL).all() else _SAMPLES
    chosen = voxels[np.linspace(0, len(voxels) - 1, min(wanted, len(voxels))).round().astype(np.intp)]
    return Component(tissue, len(voxels), BBox(_shape(low), _shape(high)), tuple(_shape(v) for v in chosen))


def _shape(values: np.ndarray) -> Shape3d:
    x, y, z = (int(v) for v in values)
    return (x, y, z)
