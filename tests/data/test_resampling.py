"""Resampling to `data.spacing` and back, with SimpleITK as the independent implementation."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK
from schemes import BRATS2021, LAYOUTS
from scipy.ndimage import affine_transform

from brats_ablate.cases import ImageGeometry
from brats_ablate.data.case_reader import ReadingRules, read_case
from brats_ablate.data.preprocess import preprocess_dataset
from brats_ablate.data.raw_cases import find_cases
from brats_ablate.data.resampling import Resampling
from brats_ablate.data.store import CaseStore, slice_in_file, stored_spacing_mm, to_original_space, to_stored_space
from brats_ablate.errors import DataError
from brats_ablate.jobs.predict import write_case

CASE = "BraTS2021_00000"
ROTATION = np.array([[0.98, -0.199, 0, -7], [0.199, 0.98, 0, 20], [0, 0, 1, -3], [0, 0, 0, 1.0]])
PERMUTED = np.array([[0, 1.0, 0, 3], [0, 0, 1.0, -4], [-1.0, 0, 0, 5], [0, 0, 0, 1]])
GRIDS = {
    # name: affine, and the shape that covers the same 44 × 48 × 42 mm
    "slices": (np.diag([1.0, 1.0, 3.0, 1.0]), (44, 48, 14)),
    "LPS": (np.diag([-1.0, -1.0, 3.0, 1.0]) + np.outer([0, 1, 0, 0], [0, 0, 0, 239]), (44, 48, 14)),
    "oblique": (ROTATION @ np.diag([-1.0, 1.0, 2.5, 1.0]), (44, 48, 17)),
    "sagittal": (PERMUTED @ np.diag([0.8, 2.0, 1.2, 1.0]), (52, 22, 40)),
    "fine": (np.diag([0.5, -0.5, 0.6, 1.0]), (88, 96, 70)),
}


def _ball(affine: np.ndarray, shape: tuple[int, ...], radius_mm: float) -> np.ndarray:
    """A ball around the middle of the grid, in mm, so that it is the same whatever the voxels."""
    index = np.stack(np.meshgrid(*(np.arange(s) - (s - 1) / 2 for s in shape), indexing="ij"), axis=-1)
    return np.linalg.norm(index @ affine[:3, :3].T, axis=-1) < radius_mm


def _write(root: Path, grid: str, codes: tuple[int, int] = (1, 1)) -> np.ndarray:
    """One BraTS 2021 case: four smooth images in a ball of 19 mm, nested balls as labels. Return the labels."""
    affine, shape = GRIDS[grid]
    brain, waves = _ball(affine, shape, 19.0), np.indices(shape).sum(axis=0)
    flair = np.where(brain, 400 + np.rint(100 * np.sin(waves / 4)), 0).astype(np.int16)
    values = np.zeros(shape, np.uint8)
    for value, radius in ((2, 14.0), (1, 10.0), (4, 7.0)):
        values[_ball(affine, shape, radius)] = value
    arrays = {"flair": flair, "t1": flair + brain * np.int16(7), "t1ce": flair, "t2": flair, "seg": values}
    (root / CASE).mkdir(parents=True)
    for kind, array in arrays.items():
        image = nib.Nifti1Image(array, affine)
        image.set_qform(affine, codes[0])
        image.set_sform(affine, codes[1])
        nib.save(image, root / CASE / f"{CASE}_{kind}.nii.gz")
    return values


def _read(root: Path, spacing: tuple[float, ...] | None = (1, 1, 1)):
    return read_case(
        find_cases(root, LAYOUTS["brats2021"], need_segmentation=True)[0], ReadingRules(BRATS2021, spacing=spacing)
    )


def _resampling(affine: np.ndarray, shape: tuple[int, ...], spacing: tuple[float, ...]) -> Resampling:
    return Resampling.of(ImageGeometry(shape, tuple(tuple(row) for row in affine.tolist())), spacing)


def _by_itk(volume: np.ndarray, resampling: Resampling, interpolator: int) -> np.ndarray:
    """Resample in voxels of the original, centers on each other."""
    image = SimpleITK.GetImageFromArray(volume.T)
    offset = [
        (n - 1) / 2 - step * (m - 1) / 2
        for n, m, step in zip(resampling.original, resampling.resampled, resampling.step, strict=True)
    ]
    out = SimpleITK.Resample(
        *(image, resampling.resampled, SimpleITK.Transform(), interpolator, offset, resampling.step),
        *(image.GetDirection(), 0.0),
    )
    return SimpleITK.GetArrayFromImage(out).T


def test_cubic_and_nearest_equal_itk() -> None:
    volume = np.random.default_rng(0).integers(1, 3000, (31, 31, 16)).astype(np.int16)
    resampling = _resampling(np.diag([0.9, 1.4, 3.0, 1.0]), volume.shape, (1.0, 1.0, 1.0))
    assert resampling.resampled == (28, 43, 48)
    inner = (slice(8, -8), slice(14, -14), slice(20, -20))  # ITK extrapolates differently outside the first voxels
    cubic = _by_itk(volume.astype(np.float64), resampling, SimpleITK.sitkBSpline)
    expected = np.clip(np.rint(cubic), volume.min(), volume.max())
    assert np.abs(resampling.image(volume)[inner] - expected[inner]).max() <= 1  # rounding at .5
    nearest = _by_itk(volume, resampling, SimpleITK.sitkNearestNeighbor)
    np.testing.assert_array_equal(resampling.labels(volume)[inner], nearest[inner])


def test_splines_equal_scipys_in_three_dimensions_to_the_edge() -> None:
    volume = np.random.default_rng(0).normal(size=(13, 9, 7))
    resampling = _resampling(np.diag([0.9, 1.4, 3.0, 1.0]), volume.shape, (1.0, 1.0, 1.0))
    shapes = (np.array(s) for s in (resampling.original, resampling.resampled))
    centers = [(shape - 1) / 2 for shape in shapes]
    offset = centers[0] - np.array(resampling.step) * centers[1]
    expected = affine_transform(volume, np.diag(resampling.step), offset, resampling.resampled, order=3, mode="nearest")
    np.testing.assert_allclose(
        resampling.image(volume), np.clip(expected, volume.min(), volume.max()), atol=1e-12, rtol=1e-9
    )


@pytest.mark.parametrize("dtype", [np.int16, np.float32])
def test_background_stays_zero_and_foreground_stays_within_its_range(dtype: type) -> None:
    volume = np.zeros((20, 22, 12), dtype)
    volume[5:15, 6:16, 3:9] = np.random.default_rng(1).integers(900, 1000, (10, 10, 6))
    if dtype is np.float32:
        volume *= dtype(0.37)
    resampling = _resampling(np.diag([1.0, 1.0, 3.0, 1.0]), volume.shape, (1.0, 1.0, 1.0))
    resampled = resampling.image(volume)
    assert resampled.dtype == dtype
    np.testing.assert_array_equal(resampled != 0, np.repeat(volume != 0, 3, axis=2))
    brain = resampled[resampled != 0]
    assert brain.min() >= volume[volume != 0].min()
    assert brain.max() <= volume.max()


def test_foreground_of_both_signs_has_no_holes() -> None:
    """Where a spline crosses 0 inside the brain, the voxel would be taken for background."""
    volume = np.ones((6, 6, 6), np.int16)
    volume[::2] = -1
    assert (_resampling(np.eye(4), volume.shape, (0.5, 0.5, 0.5)).image(volume) != 0).all()


@pytest.mark.parametrize("grid", GRIDS)
def test_the_grid_keeps_the_center_and_has_the_spacing_along_ras(tmp_path: Path, grid: str) -> None:
    affine, shape = GRIDS[grid]
    resampling = _resampling(affine, shape, (1.0, 1.5, 2.0))
    canonical = nib.as_closest_canonical(nib.Nifti1Image(np.zeros(shape, np.uint8), affine))
    extent = np.array(canonical.header.get_zooms()) * canonical.shape
    np.testing.assert_allclose(np.array(resampling.resampled) * (1.0, 1.5, 2.0), extent, atol=1.01)
    np.testing.assert_allclose(np.array(resampling.step) * canonical.header.get_zooms(), (1.0, 1.5, 2.0), rtol=1e-6)
    assert resampling.original == canonical.shape
    # A ball in the middle stays in the middle, with the volume that it has in mm³.
    ball = np.asanyarray(
        nib.as_closest_canonical(nib.Nifti1Image(_ball(affine, shape, 14).astype(np.uint8), affine)).dataobj
    )
    resampled = resampling.labels(ball)
    assert resampled.sum() * 3.0 == pytest.approx(4 / 3 * np.pi * 14**3, rel=0.04)
    centroid = np.array(np.nonzero(resampled)).mean(axis=1)
    np.testing.assert_allclose(centroid, (np.array(resampled.shape) - 1) / 2, atol=0.3)


@pytest.mark.parametrize("grid", GRIDS)
def test_label_maps_return_to_the_original_grid(tmp_path: Path, grid: str) -> None:
    values = _write(tmp_path / "raw", grid, codes=(1, 2))
    case = _read(tmp_path / "raw")
    assert case.record.resampled_mm == (1.0, 1.0, 1.0)
    assert max(case.record.box.shape) <= 40  # the ball of 19 mm, in voxels of 1 mm
    assert min(case.record.box.shape) >= 36
    write_case(tmp_path / "out.nii.gz", case.labels, case.record, BRATS2021)
    written, source = nib.load(tmp_path / "out.nii.gz"), nib.load(tmp_path / "raw" / CASE / f"{CASE}_seg.nii.gz")
    np.testing.assert_array_equal(written.affine, source.affine)
    assert (written.header["qform_code"], written.header["sform_code"]) == (1, 2)
    found = np.asanyarray(written.dataobj)
    assert found.shape == values.shape
    for region in ((1, 2, 4), (1, 4), (4,)):
        ours, theirs = np.isin(found, region), np.isin(values, region)
        assert 2 * (ours & theirs).sum() / (ours.sum() + theirs.sum()) > 0.95, region
    if grid in ("slices", "LPS", "oblique"):  # no voxel of these grids is smaller than 1 mm, nor shifted
        np.testing.assert_array_equal(found, values)


@pytest.mark.parametrize("grid", ["LPS", "sagittal"])
def test_stored_spacing_is_along_ras(tmp_path: Path, grid: str) -> None:
    _write(tmp_path / "raw", grid)
    closest = nib.as_closest_canonical(nib.load(tmp_path / "raw" / CASE / f"{CASE}_seg.nii.gz"))
    np.testing.assert_allclose(stored_spacing_mm(_read(tmp_path / "raw", None).record), closest.header.get_zooms())
    assert stored_spacing_mm(_read(tmp_path / "raw", (1.5, 1, 2)).record) == (1.5, 1.0, 2.0)


@pytest.mark.parametrize("grid", ["LPS", "sagittal"])
def test_a_stored_slice_is_found_in_the_file(tmp_path: Path, grid: str) -> None:
    _write(tmp_path / "raw", grid)
    case = _read(tmp_path / "raw", None)
    flair = np.asanyarray(nib.load(tmp_path / "raw" / CASE / f"{CASE}_flair.nii.gz").dataobj)  # waves without symmetry
    for axis, n in enumerate(case.record.box.shape):
        index = n // 2 + 2
        letter, number = str(slice_in_file(case.record, axis, index)).split(" = ")
        in_file, stored = flair.take(int(number), axis="ijk".index(letter)), case.images[0].take(index, axis=axis)
        np.testing.assert_array_equal(np.sort(in_file[in_file != 0]), np.sort(stored[stored != 0]))
    assert slice_in_file(_read(tmp_path / "raw").record, 0, 0) is None


@pytest.mark.parametrize("grid", ["LPS", "sagittal"])
def test_stored_space_inverts_original_space(tmp_path: Path, grid: str) -> None:
    _write(tmp_path / "raw", grid)
    record = _read(tmp_path / "raw").record
    affine = np.array(record.grid.affine)
    labels = _read(tmp_path / "raw").labels
    there = to_original_space(record, labels)
    np.testing.assert_array_equal(to_original_space(record, np.stack([labels, labels]))[1], there)
    back = to_stored_space(record, there, affine)
    assert (back != labels).mean() < 0.04
    flipped = affine @ np.array([[-1, 0, 0, there.shape[0] - 1], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    np.testing.assert_array_equal(to_stored_space(record, there[::-1], flipped), back)
    with pytest.raises(ValueError, match="differs from the grid's"):
        to_stored_space(record, there[1:], affine)


def test_orientations_of_one_brain_resample_to_one_case(tmp_path: Path) -> None:
    expected = None
    _write(tmp_path / "first", "slices")
    for number, (x, y, axes) in enumerate(((1, 1, (0, 1, 2)), (-1, -1, (0, 1, 2)), (-1, 1, (2, 0, 1)))):
        root = tmp_path / str(number)
        for kind in ("flair", "t1", "t1ce", "t2", "seg"):
            source = nib.load(tmp_path / "first" / CASE / f"{CASE}_{kind}.nii.gz")
            ornt = np.array([[axes.index(0), x], [axes.index(1), y], [axes.index(2), 1]])
            image = source.as_reoriented(ornt)
            (root / CASE).mkdir(parents=True, exist_ok=True)
            nib.save(image, root / CASE / f"{CASE}_{kind}.nii.gz")
        case = _read(root)
        expected = expected or case
        np.testing.assert_array_equal(case.images, expected.images)
        np.testing.assert_array_equal(case.labels, expected.labels)
        assert case.record.box == expected.record.box


def test_files_that_have_the_spacing_are_not_touched(tmp_path: Path, raw_cohort: Path) -> None:
    assert (_read(raw_cohort, (1, 1, 1)).images == _read(raw_cohort, None).images).all()
    assert _read(raw_cohort, (1, 1, 1)).record == _read(raw_cohort, None).record


def test_store_of_resampled_cases(tmp_path: Path) -> None:
    values = _write(tmp_path / "raw", "LPS")
    options = {"name": "t", "layout": LAYOUTS["brats2021"], "labels": BRATS2021, "workers": 1, "trust_convention": True}
    _copy_case(tmp_path / "raw", "BraTS2021_00001")
    summary = preprocess_dataset(tmp_path / "raw", tmp_path / "p", n_folds=2, spacing=[1, 1, 1], **options)
    again = preprocess_dataset(tmp_path / "raw", tmp_path / "p", n_folds=2, spacing=[1.0, 1.0, 1.0], **options)
    assert (again.written, again.fingerprint) == (0, summary.fingerprint)
    store = CaseStore(tmp_path / "p")
    assert store.spacing == [1.0, 1.0, 1.0]
    nested = np.array([0, 2, 1, 0, 3], np.uint8)[values]
    np.testing.assert_array_equal(store.read_reference(CASE), nested)
    assert store.read_labels(CASE).shape == store.record(CASE).box.shape
    plain = preprocess_dataset(tmp_path / "raw", tmp_path / "p", n_folds=2, **options)
    assert plain.written == 2
    assert plain.fingerprint != summary.fingerprint
    np.testing.assert_array_equal(CaseStore(tmp_path / "p").read_reference(CASE), nested)
    assert not (tmp_path / "p" / "cases" / CASE / "reference.b2nd").exists()
    preprocess_dataset(tmp_path / "raw", tmp_path / "p", n_folds=2, spacing=[1, 1, 1], **options)
    (tmp_path / "p" / "cases" / CASE / "reference.b2nd").unlink()
    with pytest.raises(DataError, match=r"reference\.b2nd is missing"):
        CaseStore(tmp_path / "p").read_reference(CASE)
    assert preprocess_dataset(tmp_path / "raw", tmp_path / "p", n_folds=2, spacing=[1, 1, 1], **options).written == 1


def _copy_case(root: Path, case_id: str) -> None:
    (root / case_id).mkdir()
    for file in (root / CASE).iterdir():
        (root / case_id / file.name.replace(CASE, case_id)).write_bytes(file.read_bytes())


def test_maps_of_floats_return_interpolated_linearly(tmp_path: Path) -> None:
    """Linear interpolation returns a linear map exactly, wherever it does not extrapolate."""
    affine, shape = np.diag([0.9, 1.4, 3.0, 1.0]), (13, 9, 7)
    resampling = _resampling(affine, shape, (1.0, 1.0, 1.0))
    coordinates = np.indices(resampling.resampled) - (np.array(resampling.resampled) - 1).reshape(3, 1, 1, 1) / 2
    ramp = np.tensordot([0.5, -0.3, 0.2], coordinates, 1).astype(np.float32)
    original = (np.indices(shape) - (np.array(shape) - 1).reshape(3, 1, 1, 1) / 2) * np.array([0.9, 1.4, 3.0]).reshape(
        3, 1, 1, 1
    )
    half = resampling.values_back(ramp.astype(np.float16))
    assert half.dtype == np.float16
    np.testing.assert_array_equal(
        half, resampling.values_back(ramp.astype(np.float16).astype(np.float32)).astype(half.dtype)
    )
    back = resampling.values_back(ramp)
    inner = (slice(1, -1),) * 3
    assert back.dtype == np.float32
    np.testing.assert_allclose(back[inner], np.tensordot([0.5, -0.3, 0.2], original, 1)[inner], atol=1e-5)
