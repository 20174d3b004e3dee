from __future__ import annotations

import gzip
import itertools
import os
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from brats_ablate.data import nifti
from brats_ablate.errors import DataError

ARRAY = np.arange(5 * 6 * 7, dtype=np.int16).reshape(5, 6, 7) - 50
AFFINE = np.array([[-1.5, 0, 0, 7], [0, -1, 0, 239], [0, 0, 2, -3], [0, 0, 0, 1.0]])


def _save(path: Path, array: np.ndarray, kind: type = nib.Nifti1Image) -> Path:
    nib.save(kind(array, AFFINE), path)
    return path


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
def test_reads_what_nibabel_wrote(tmp_path, name, kind):
    array, affine = nifti.read_volume(_save(tmp_path / name, ARRAY, kind))
    assert array.dtype == np.int16
    np.testing.assert_array_equal(array, ARRAY)
    np.testing.assert_array_equal(affine, AFFINE)


def test_reads_big_endian_scaled_and_shifted_data(tmp_path):
    header = nib.Nifti1Header(endianness=">")
    header.set_data_dtype(np.int16)
    header.set_data_shape(ARRAY.shape)
    header.set_sform(AFFINE, code=1)
    header["scl_slope"], header["scl_inter"] = 0.5, 3
    header["vox_offset"] = 416  # voxels need not follow the header at once
    content = header.binaryblock + bytes(416 - 348) + ARRAY.astype(">i2").tobytes(order="F")
    (tmp_path / "a.nii.gz").write_bytes(gzip.compress(content))
    array, _ = nifti.read_volume(tmp_path / "a.nii.gz")
    assert array.dtype.isnative
    np.testing.assert_allclose(array, ARRAY * 0.5 + 3)


def test_selects_a_volume_of_a_4d_file(tmp_path):
    path = _save(tmp_path / "a.nii.gz", np.stack([ARRAY, ARRAY + 1], axis=-1))
    array = nifti.read_file(path).array
    np.testing.assert_array_equal(nifti.select_volume(path, array, 1, 2), ARRAY + 1)
    with pytest.raises(DataError, match="where one 3-D volume was expected"):
        nifti.read_volume(path)
    with pytest.raises(DataError, match="where 3 volumes were expected"):
        nifti.select_volume(path, array, 1, 3)


def test_trailing_axis_of_one_is_dropped(tmp_path):
    assert nifti.read_volume(_save(tmp_path / "a.nii", ARRAY[..., None]))[0].shape == (5, 6, 7)


def test_written_labels_are_read_back_by_nibabel(tmp_path):
    labels = np.random.default_rng(0).integers(0, 5, (5, 6, 7))
    nifti.write_labels(tmp_path / "seg.nii.gz", labels, AFFINE)
    image = nib.load(tmp_path / "seg.nii.gz")
    assert image.get_data_dtype() == np.uint8
    assert image.header.get_xyzt_units()[0] == "mm"
    np.testing.assert_array_equal(np.asanyarray(image.dataobj), labels)
    np.testing.assert_array_equal(image.affine, AFFINE)
    assert [p.name for p in tmp_path.iterdir()] == ["seg.nii.gz"]


def test_written_bytes_do_not_depend_on_the_time(tmp_path):
    for name in ("a.nii.gz", "b.nii.gz"):
        nifti.write_volume(tmp_path / name, ARRAY, AFFINE)
    assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "b.nii.gz").read_bytes()


def _truncate(content: bytes) -> bytes:
    return content[: len(content) // 2]


def _damage(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes(255 - b for b in content[middle : middle + 40]) + content[middle + 40 :]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (_truncate, "is a truncated gzip file"),
        (_damage, "is a damaged gzip file"),
        (lambda c: gzip.compress(gzip.decompress(c)[:500]), "is truncated"),
        (lambda c: b"not an image at all" * 40, "is not a readable NIfTI file"),
        (lambda c: b"", "is not a readable NIfTI file"),
    ],
)
def test_damaged_file_is_reported_in_one_sentence(tmp_path, change, sentence):
    noise = np.random.default_rng(0).integers(0, 3000, (16, 20, 24)).astype(np.int16)
    path = _save(tmp_path / "a_t1.nii.gz", noise)
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(DataError, match=sentence) as caught:
        nifti.read_file(path)
    assert "a_t1.nii.gz" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_position_that_is_not_finite_is_reported(tmp_path, value):
    image = nib.Nifti1Image(ARRAY, AFFINE)
    image.header["srow_x"] = [-1.5, 0, 0, value]
    (tmp_path / "a.nii").write_bytes(image.header.binaryblock + b"\0" * 4 + ARRAY.tobytes("F"))
    with pytest.raises(DataError, match=r"a\.nii has a position that is not finite in its header; export it again$"):
        nifti.read_volume(tmp_path / "a.nii")


def test_absent_file_is_named(tmp_path):
    with pytest.raises(DataError, match=r"gone\.nii cannot be read \(No such file"):
        nifti.read_file(tmp_path / "gone.nii")


ALL_48 = [
    (axes, signs) for axes in itertools.permutations(range(3)) for signs in itertools.product((1.0, -1.0), repeat=3)
]


@pytest.mark.parametrize(("axes", "signs"), ALL_48)
def test_orientation_equals_nibabels_canonical_and_inverts(axes, signs):
    affine = np.eye(4)
    affine[:3, :3] = 0.0
    for file_axis, (world_axis, sign) in enumerate(zip(axes, signs, strict=True)):
        affine[world_axis, file_axis] = sign * (1 + 0.5 * file_axis)
    affine[:3, :3] = np.array([[0.995, -0.0998, 0], [0.0998, 0.995, 0], [0, 0, 1]]) @ affine[:3, :3]  # oblique by 6°
    array = np.arange(5 * 6 * 7, dtype=np.int16).reshape(5, 6, 7)
    orientation = nifti.Orientation.of(affine)
    expected = np.asanyarray(nib.as_closest_canonical(nib.Nifti1Image(array, affine)).dataobj)
    np.testing.assert_array_equal(orientation.to_ras(array), expected)
    channels = np.zeros((2, *array.shape), dtype=np.int16)
    orientation.to_ras(channels)[:] = np.stack([expected, expected + 1])  # a view: writing inverts the mapping
    np.testing.assert_array_equal(channels, np.stack([array, array + 1]))


def test_affine_without_an_axis_is_rejected():
    with pytest.raises(ValueError, match="drops an axis"):
        nifti.Orientation.of(np.diag([1.0, 0.0, 1.0, 1.0]))


def test_a_file_that_inflates_to_more_than_it_declares_is_refused(tmp_path):
    """4 MiB of compressed zeros stand for 4 GiB; 60 MiB show that reading ends early."""
    content = _save(tmp_path / "a.nii", ARRAY).read_bytes()
    (tmp_path / "bomb.nii.gz").write_bytes(gzip.compress(content + bytes(60 << 20)))
    with pytest.raises(DataError, match=r"bomb\.nii\.gz inflates to far more than the \d+ bytes that its header"):
        nifti.read_volume(tmp_path / "bomb.nii.gz")


def test_a_header_that_declares_too_much_is_refused(tmp_path):
    content = bytearray(_save(tmp_path / "a.nii", ARRAY).read_bytes())
    content[42:48] = np.array([30000, 30000, 30000], "<i2").tobytes()
    (tmp_path / "huge.nii.gz").write_bytes(gzip.compress(bytes(content)))
    with pytest.raises(DataError, match=r"huge\.nii\.gz declares \(30000, 30000, 30000\) voxels, more than 8 GiB"):
        nifti.read_volume(tmp_path / "huge.nii.gz")


def test_bytes_after_the_image_and_headers_with_extensions_are_read(tmp_path):
    image = nib.Nifti1Image(ARRAY, AFFINE)
    image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"x" * 3000))
    nib.save(image, tmp_path / "a.nii")
    (tmp_path / "b.nii.gz").write_bytes(gzip.compress((tmp_path / "a.nii").read_bytes() + bytes(1000)))
    np.testing.assert_array_equal(nifti.read_volume(tmp_path / "b.nii.gz")[0], ARRAY)


def test_a_pipe_is_refused_instead_of_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.nii.gz")
    with pytest.raises(DataError, match="is no file"):
        nifti.read_volume(tmp_path / "a.nii.gz")
