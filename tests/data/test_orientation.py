from __future__ import annotations

import itertools

import nibabel as nib
import numpy as np
import pytest

from brats_ablate.data.orientation import Orientation

ALL_48 = [
    (axes, signs) for axes in itertools.permutations(range(3)) for signs in itertools.product((1.0, -1.0), repeat=3)
]


@pytest.mark.parametrize(("axes", "signs"), ALL_48)
def test_equals_nibabels_canonical_and_inverts(axes, signs):
    affine = np.eye(4)
    affine[:3, :3] = 0.0
    for file_axis, (world_axis, sign) in enumerate(zip(axes, signs, strict=True)):
        affine[world_axis, file_axis] = sign * (1 + 0.5 * file_axis)
    affine[:3, :3] = np.array([[0.995, -0.0998, 0], [0.0998, 0.995, 0], [0, 0, 1]]) @ affine[:3, :3]  # oblique by 6°
    array = np.arange(5 * 6 * 7, dtype=np.int16).reshape(5, 6, 7)
    orientation = Orientation.of(affine)
    expected = np.asanyarray(nib.as_closest_canonical(nib.Nifti1Image(array, affine)).dataobj)
    np.testing.assert_array_equal(orientation.to_ras(array), expected)
    assert orientation.shape(array.shape) == expected.shape
    channels = np.stack([array, array + 1])
    np.testing.assert_array_equal(orientation.from_ras(orientation.to_ras(channels)), channels)


def test_affine_without_an_axis_is_rejected():
    with pytest.raises(ValueError, match="drops an axis"):
        Orientation.of(np.diag([1.0, 0.0, 1.0, 1.0]))
