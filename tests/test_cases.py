from __future__ import annotations

import itertools
import json
from dataclasses import replace

import numpy as np
import pytest

from brats_ablate.cases import BBox, CaseMetadata, Component, ImageGeometry, NiftiPosition


def mask() -> np.ndarray:
    """Two voxels in (5, 6, 7), so that no two edges of their box are equal."""
    array = np.zeros((5, 6, 7), dtype=bool)
    array[1, 2, 3] = array[3, 2, 5] = True
    return array


def test_box_around_a_mask() -> None:
    box = BBox.around(mask())
    assert box == BBox((1, 2, 3), (4, 3, 6))
    assert box.shape == (3, 1, 3)
    assert mask()[box.slices].sum() == 2
    assert BBox.around(np.zeros((5, 6, 7), dtype=bool)) is None


@pytest.mark.parametrize("axes", list(itertools.permutations(range(3))))
@pytest.mark.parametrize("step", [1, -1])
def test_box_does_not_depend_on_the_memory_layout(axes: tuple[int, ...], step: int) -> None:
    array = (mask() * np.uint8(3)).transpose(axes)[:, ::step]
    assert BBox.around(array) == BBox.around(np.ascontiguousarray(array))


def test_metadata_survives_json_under_the_keys_of_the_store() -> None:
    metadata = CaseMetadata(
        case_id="A",
        patient_id="P",
        grid=ImageGeometry((5, 6, 7), ((1.0, 0.0, 0.0, -3.5), (0.0, 1.0, 0.0, 0.0), (0.0, 0.0, 2.0, 0.0))),
        box=BBox((0, 1, 2), (5, 6, 7)),
        mean=(1.5, 2.0),
        std=(0.5, 1.0),
        has_labels=True,
        components=(Component(3, 2, BBox((1, 1, 2), (2, 2, 4)), ((1, 1, 2), (1, 1, 3))),),
        content_hash="0123",
    )
    plain = json.loads(json.dumps(metadata.to_dict()))
    assert CaseMetadata.from_dict(plain) == metadata
    assert list(plain)[-2:] == ["blobs", "content"]
    assert plain.keys() | plain["grid"].keys() == {
        *("case_id", "patient_id", "grid", "box", "mean", "std", "has_labels", "blobs", "content", "shape", "affine")
    }  # those of version 0.1, whose stores lack the position
    position = NiftiPosition(1, 2, 2, (-1.0, 1.0, 1.0, 3.0), (0.0, 0.0, 1.0), (-3.5, 0.0, 7.25))
    placed = replace(metadata, grid=replace(metadata.grid, position=position), resampled_mm=(1.0, 1.0, 1.0))
    assert CaseMetadata.from_dict(json.loads(json.dumps(placed.to_dict()))) == placed
    assert plain["blobs"] == [[3, 2, [1, 1, 2], [2, 2, 4], [[1, 1, 2], [1, 1, 3]]]]
