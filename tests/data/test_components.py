from __future__ import annotations

import numpy as np
from scipy import ndimage

from brats_ablate.data.components import connected_components


def test_components_by_hand():
    nested = np.zeros((9, 8, 7), dtype=np.uint8)
    nested[1, 1, 1] = nested[2, 2, 2] = 3  # touch at a corner: one component of 26 neighbors
    nested[6:8, 3, 4:6] = 3
    nested[4, 4, 4] = 1
    components = connected_components(nested)
    assert [(c.tissue, c.voxels, c.box.start, c.box.stop) for c in components] == [
        (1, 1, (4, 4, 4), (5, 5, 5)),
        (3, 2, (1, 1, 1), (3, 3, 3)),
        (3, 4, (6, 3, 4), (8, 4, 6)),
    ]


def test_equals_scipy_on_noise():
    nested = (np.random.default_rng(1).random((20, 16, 24)) < 0.06).astype(np.uint8)
    nested[3:9, 2:7, 5:20] = 2
    components = connected_components(nested)
    for tissue in (1, 2):
        numbered, count = ndimage.label(nested == tissue, np.ones((3, 3, 3)))
        boxes = ndimage.find_objects(numbered)
        sizes = np.bincount(numbered.ravel())[1:]
        expected = {
            (tuple(s.start for s in b), tuple(s.stop for s in b), int(n)) for b, n in zip(boxes, sizes, strict=True)
        }
        ours = [c for c in components if c.tissue == tissue]
        assert len(ours) == count
        assert {(c.box.start, c.box.stop, c.voxels) for c in ours} == expected


def test_samples_lie_in_the_component_and_large_components_have_several():
    nested = np.zeros((40, 12, 12), dtype=np.uint8)
    nested[5:38, 3:6, 4:6] = 2
    nested[0, 0, 0] = 2
    small, large = connected_components(nested)
    assert small.samples == ((0, 0, 0),)
    assert len(large.samples) == len(set(large.samples)) == 16
    assert all(nested[s] == 2 and s != (0, 0, 0) for s in large.samples)


def test_no_tumor_has_no_components():
    assert connected_components(np.zeros((5, 6, 7), dtype=np.uint8)) == ()
