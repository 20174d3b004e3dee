"""Which slices are shown, and how they lie: hand-made volumes."""

from __future__ import annotations

import numpy as np
import pytest

from brats_ablate.report.planes import AXIAL, PLANES, Plane, largest_error_slice, largest_tumor_slice


def volume(shape: tuple[int, int, int] = (8, 10, 6), **boxes: tuple[slice, slice, slice]) -> np.ndarray:
    """Zeros with a box of each label: `volume(_2=(slice(1, 3), …))`."""
    labels = np.zeros(shape, np.uint8)
    for label, box in boxes.items():
        labels[box] = int(label[1:])
    return labels


@pytest.mark.parametrize("plane", PLANES, ids=lambda plane: plane.name)
def test_slices_are_upright_and_radiological(plane: Plane) -> None:
    """RAS+: the last voxel of an axis is the rightmost, frontmost, uppermost one."""
    directions = dict(zip(("x", "y", "z"), np.indices((8, 10, 6)), strict=True))
    across, up = {"axial": ("x", "y"), "coronal": ("x", "z"), "sagittal": ("y", "z")}[plane.name]
    columns, rows = (plane.upright(directions[axis], 3) for axis in (across, up))
    assert (np.diff(columns, axis=1) == -1).all()  # the patient's right, or the front, is on the left
    assert (np.diff(rows, axis=0) == -1).all()  # the front, or the head, is up
    assert plane.left + plane.right == ("RL" if across == "x" else "AP")
    assert (plane.upright(np.indices((8, 10, 6))[plane.axis], 3) == 3).all()
    height, width = plane.pixel_mm((1.0, 2.0, 5.0))
    edges = {"x": 1.0, "y": 2.0, "z": 5.0}
    assert (width, height) == (edges[across], edges[up])


def test_each_plane_shows_its_most_wrong_voxels() -> None:
    reference = volume(_1=(slice(1, 5), slice(1, 5), slice(1, 5)))
    predicted = reference.copy()
    predicted[6, 2:9, 4] = 1  # false positives: 7 in x=6 and in z=4, one in each y
    predicted[2, 2, 1:3] = 0  # false negatives: y=2 has these and one of the line
    predicted[3, 3, 3] = 2  # another tissue
    slices = {plane.name: largest_error_slice(predicted, reference, plane) for plane in PLANES}
    assert slices == {"axial": 4, "coronal": 2, "sagittal": 6}


def test_without_an_error_the_largest_tumor_is_shown() -> None:
    tumor = volume(_3=(slice(1, 3), slice(1, 8), slice(2, 3)), _1=(slice(5, 6), slice(4, 5), slice(0, 6)))
    shown = {"axial": 2, "coronal": 4, "sagittal": 1}
    assert {plane.name: largest_error_slice(tumor, tumor, plane) for plane in PLANES} == shown
    assert {plane.name: largest_error_slice(tumor, None, plane) for plane in PLANES} == shown


def test_without_any_tumor_the_middle_is_shown() -> None:
    nothing = volume()
    assert [largest_error_slice(nothing, nothing, plane) for plane in PLANES] == [3, 5, 4]
    assert [largest_error_slice(nothing, None, plane) for plane in PLANES] == [3, 5, 4]
    assert largest_tumor_slice(nothing) == 3
    assert largest_tumor_slice(volume(_2=(slice(0, 1), slice(0, 1), slice(5, 6))), AXIAL) == 5
