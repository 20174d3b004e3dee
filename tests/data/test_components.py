from __future__ import annotations

import numpy as np
from scipy import ndimage

from brats_ablate.data.components import connected_components


def test_hand_computed_blobs():
    depth = np.zeros((9, 8, 7), dtype=np.uint8)
    depth[1, 1, 1] = depth[2, 2, 2] = 3  # touch at a corner: one component of 26 neighbours
    depth[6:8, 3, 4:6] = 3
    depth[4, 4, 4] = 1
    blobs = connected_components(depth)
    assert [(b.tissue, b.voxels, b.box.start, b.box.stop) for b in blobs] == [
        (1, 1, (4, 4, 4), (5, 5, 5)),
        (3, 2, (1, 1, 1), (3, 3, 3)),
        (3, 4, (6, 3, 4), (8, 4, 6)),
    ]


def test_equals_scipy_on_noise():
    depth = (np.random.default_rng(1).random((20, 16, 24)) < 0.06).astype(np.uint8)
    depth[3:9, 2:7, 5:20] = 2
    blobs = connected_components(depth)
    for tissue in (1, 2):
        components, count = ndimage.label(depth == tissue, np.ones((3, 3, 3)))
        boxes = ndimage.find_objects(components)
        sizes = np.bincount(components.ravel())[1:]
        expected = {
            (tuple(s.start for s in b), tuple(s.stop for s in b), int(n)) for b, n in zip(boxes, sizes, strict=True)
        }
        ours = [b for b in blobs if b.tissue == tissue]
        assert len(ours) == count
        assert {(b.box.start, b.box.stop, b.voxels) for b in ours} == expected


def test_samples_lie_in_the_blob_and_large_blobs_have_several():
    depth = np.zeros((40, 12, 12), dtype=np.uint8)
    depth[5:38, 3:6, 4:6] = 2
    depth[0, 0, 0] = 2
    small, large = connected_components(depth)
    assert small.samples == ((0, 0, 0),)
    assert len(large.samples) == len(set(large.samples)) == 16
    assert all(depth[s] == 2 and s != (0, 0, 0) for s in large.samples)


def test_no_tumour_no_blobs():
    assert connected_components(np.zeros((5, 6, 7), dtype=np.uint8)) == ()
