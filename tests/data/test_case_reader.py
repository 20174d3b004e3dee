from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from schemes import LAYOUTS

from brats_ablate.cases import BBox
from brats_ablate.data.case_reader import ReadingRules, foreground_box, foreground_moments, read_case
from brats_ablate.data.content import content_hash
from brats_ablate.data.raw_cases import find_cases
from brats_ablate.errors import DataError
from brats_ablate.labels.scheme import LabelScheme


def _read(root, layout="brats2021"):
    convention = "brats2021" if layout == "brats2018" else layout
    return read_case(
        find_cases(root, LAYOUTS[layout], need_segmentation=False)[0],
        ReadingRules(LabelScheme.named_before(convention)),
    )


def test_orientations_of_one_brain_give_one_prepared_case(tmp_path, write_raw, spoil):
    lps = _read(write_raw(tmp_path / "lps", "BraTS2021_00000"))
    root = write_raw(tmp_path / "ras", "BraTS2021_00000")
    for kind in ("flair", "t1", "t1ce", "t2", "seg"):
        spoil(root, "BraTS2021_00000", kind, lambda a: a[::-1, ::-1], affine=np.eye(4))
    ras = _read(root)
    np.testing.assert_array_equal(ras.images, lps.images)
    np.testing.assert_array_equal(ras.labels, lps.labels)
    assert ras.record.box == lps.record.box
    assert ras.record.components == lps.record.components


def test_each_file_is_oriented_by_its_own_header(tmp_path, write_raw, spoil):
    expected = _read(write_raw(tmp_path / "lps", "BraTS2021_00000"))
    root = write_raw(tmp_path / "mixed", "BraTS2021_00000")
    lps = np.array(expected.record.grid.affine)
    flipped = lps @ np.array([[-1, 0, 0, 11], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    spoil(root, "BraTS2021_00000", "t2", lambda a: a[::-1], affine=flipped)
    permuted = lps @ np.array([[0, 0, 1, 0], [1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1]])
    spoil(root, "BraTS2021_00000", "seg", lambda a: a.transpose(1, 2, 0), affine=permuted)
    mixed = _read(root)
    assert mixed.record.content_hash == expected.record.content_hash
    assert mixed.record.grid == expected.record.grid


def test_layouts_of_one_brain_give_one_prepared_case(tmp_path, write_raw):
    prepared = [
        _read(write_raw(tmp_path / layout, case_id, layout), layout)
        for layout, case_id in {
            "brats2021": "BraTS2021_00000",
            "brats2018": "Brats18_A_1",
            "brats2023": "BraTS-GLI-00000-000",
            "msd": "BRATS_001",
        }.items()
    ]
    assert len({case.record.content_hash for case in prepared}) == 1


def test_crop_is_the_smallest_box_and_arrays_are_contiguous(tmp_path, write_raw):
    case = _read(write_raw(tmp_path, "BraTS2021_00000", orientation="RAS"))
    assert (case.record.box.start, case.record.box.stop) == ((2, 3, 4), (11, 13, 9))
    assert case.images.dtype == np.int16
    assert case.images.flags.c_contiguous
    assert case.labels.flags.c_contiguous


def test_box_keeps_labels_outside_the_brain(raw_cohort, spoil):
    def stray(array):
        array[0, 0, 0] = 2
        return array

    spoil(raw_cohort, "BraTS2021_00000", "seg", stray)
    assert (_read(raw_cohort).labels == 1).sum() > 0
    record = _read(raw_cohort).record
    # LPS: the file's corner is the last voxel of x and y in RAS+.
    assert (record.box.stop[0], record.box.stop[1], record.box.start[2]) == (12, 14, 0)


def test_foreground_box_of_one_voxel_and_of_a_union():
    a, b = np.zeros((2, 5, 6, 7), dtype=np.int16)
    a[1, 2, 3] = -1
    assert foreground_box([a, b]) == BBox((1, 2, 3), (2, 3, 4))
    b[4, 0, 6] = 9
    assert foreground_box([a, b]) == BBox((1, 0, 3), (5, 3, 7))


def test_moments_equal_numpys_over_non_zero_voxels():
    images = np.random.default_rng(0).integers(-50, 30000, (4, 5, 6, 7)).astype(np.int16)
    images[:, :2] = 0
    mean, std = foreground_moments(images)
    for k in range(4):
        brain = images[k][images[k] != 0].astype(np.float64)
        assert mean[k] == pytest.approx(np.mean(brain), rel=1e-13)
        assert std[k] == pytest.approx(np.std(brain), rel=1e-13)


@pytest.mark.parametrize(
    ("change", "dtype"),
    [
        (lambda a: a.astype(np.float32), np.int16),
        (lambda a: a - np.int16(1500) * (a != 0), np.int16),
        (lambda a: a * np.float32(0.37), np.float32),
        (lambda a: a.astype(np.int32) * 40, np.float32),
    ],
)
def test_int16_only_where_it_is_lossless(raw_cohort, spoil, change, dtype):
    before = _read(raw_cohort).images
    for kind in ("flair", "t1"):
        spoil(raw_cohort, "BraTS2021_00000", kind, change)
    after = _read(raw_cohort).images
    assert after.dtype == dtype
    np.testing.assert_array_equal(after[:2], np.stack([change(b) for b in before[:2]]).astype(dtype))
    np.testing.assert_array_equal(after[2:], before[2:])


def test_content_hash_depends_on_all_that_is_read_of_a_case(raw_cohort):
    case = _read(raw_cohort)
    images, labels, box, grid = given = (case.images, case.labels, case.record.box, case.record.grid)
    shifted = np.array(grid.affine) + np.eye(4)[3]
    others = [
        (images + 1, *given[1:], None),
        (images.view(np.uint16), *given[1:], None),
        (images.reshape(images.shape[::-1]), *given[1:], None),
        (images, labels + 1, *given[2:], None),
        (images, None, *given[2:], None),
        (images, None, *given[2:], labels),
        (images, labels, replace(box, start=(0, 0, 0)), grid, None),
        (images, labels, replace(box, stop=grid.shape), grid, None),
        (*given[:3], replace(grid, shape=(99, 99, 99)), None),
        (*given[:3], replace(grid, affine=shifted.tolist()), None),
        (*given, labels),
        (*given, labels + 1),
    ]
    assert content_hash(*given, None) == case.record.content_hash == _read(raw_cohort).record.content_hash
    assert len({content_hash(*each) for each in [(*given, None), *others]}) == 1 + len(others)


@pytest.mark.parametrize("modalities", [("t1ce",), ("t2", "flair"), ("flair", "t1", "t1ce", "t2", "adc")])
def test_the_images_of_the_raw_case_are_the_channels(raw_cohort, modalities):
    full = _read(raw_cohort)
    raw = find_cases(raw_cohort, LAYOUTS["brats2021"], need_segmentation=True)[0]
    images = {**raw.images, "adc": raw.images["t1"]}
    raw = replace(raw, images={m: images[m] for m in modalities})
    assert tuple(raw.images) == modalities
    case = read_case(raw, ReadingRules(LabelScheme.named_before("brats2021")))
    row = {"flair": 0, "t1": 1, "t1ce": 2, "t2": 3, "adc": 1}
    rows = [row[m] for m in modalities]
    np.testing.assert_array_equal(case.images, full.images[rows])
    np.testing.assert_array_equal(case.labels, full.labels)
    assert case.record.mean == tuple(full.record.mean[r] for r in rows)
    assert case.modalities == modalities


def test_a_channel_that_a_case_lacks_is_zero(raw_cohort):
    case = _read(raw_cohort)
    asked = case.with_channels(("t2", "adc", "t1"))
    np.testing.assert_array_equal(asked.images[[0, 2]], case.images[[3, 1]])
    assert not asked.images[1].any()
    assert asked.images.dtype == case.images.dtype
    assert (asked.record.mean, asked.record.std) == tuple(
        (v[3], 0.0, v[1]) for v in (case.record.mean, case.record.std)
    )
    assert case.with_channels(case.modalities) is case


def test_the_trusted_header_must_be_that_of_a_modality_of_the_case(raw_cohort):
    raw = find_cases(raw_cohort, LAYOUTS["brats2021"], need_segmentation=True)[0]
    raw = replace(raw, images={"t1ce": raw.images["t1ce"]})
    with pytest.raises(DataError, match=r"data\.trust_affine_of=flair is missing; add the file, or set another"):
        read_case(raw, ReadingRules("brats2021", trust_affine_of="flair"))
