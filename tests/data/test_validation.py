from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from schemes import BRATS2021, GLI2024, LAYOUTS, MEN_RT

from brats_ablate.cases import RawCase
from brats_ablate.config.data_options import known_schemes, scheme_named
from brats_ablate.data import validation
from brats_ablate.data.case_reader import ReadingRules, read_case
from brats_ablate.data.raw_cases import find_cases
from brats_ablate.errors import DataError
from brats_ablate.labels.scheme import LabelScheme


@pytest.fixture
def case(raw_cohort):
    return find_cases(raw_cohort, LAYOUTS["brats2021"], need_segmentation=True)[0]


def _nan_at_one_voxel(array):
    array = array.astype(np.float32)
    array[3, 3, 3] = np.nan
    return array


def _rim_and_core(outer: int, inner: int) -> np.ndarray:
    nested = np.zeros((12, 12, 12), dtype=np.uint8)
    nested[2:10, 2:10, 2:10] = outer
    nested[4:8, 4:8, 4:8] = inner
    return nested


@pytest.mark.parametrize(
    ("kind", "change", "sentence"),
    [
        ("t1ce", _nan_at_one_voxel, r"_t1ce\.nii\.gz \(t1ce\) contains 1 voxels that are NaN or infinite"),
        ("t2", np.zeros_like, r"_t2\.nii\.gz \(t2\) is zero everywhere"),
        ("flair", lambda a: (a > 0).astype(np.int16), r"_flair\.nii\.gz \(flair\) has one value"),
        ("flair", lambda a: -(a > 0).astype(np.int16), r"_flair\.nii\.gz \(flair\) has one value"),
        ("t1", lambda a: a[:-1], r"_t1\.nii\.gz has 11×14×10 voxels \(RAS\+\), .*_flair\.nii\.gz has 12×14×10"),
        ("seg", lambda a: a[:, :-1], r"_seg\.nii\.gz has 12×13×10 voxels"),
        (
            "seg",
            lambda a: np.where(a == 4, 7, a).astype(np.uint8),
            r"_seg\.nii\.gz: label value 7 is not in labels=brats2021",
        ),
        ("seg", lambda a: a * np.float32(0.5), r"_seg\.nii\.gz: label value 0\.5"),
        ("seg", lambda a: np.where(a == 4, np.nan, a), r"_seg\.nii\.gz: label value nan"),
    ],
)
def test_invalid_volume_is_reported_in_one_sentence(raw_cohort, spoil, kind, change, sentence):
    spoil(raw_cohort, "BraTS2021_00001", kind, change)
    case = find_cases(raw_cohort, LAYOUTS["brats2021"], need_segmentation=True)[1]
    with pytest.raises(DataError, match=sentence) as caught:
        read_case(case, ReadingRules(BRATS2021))
    assert "BraTS2021_00001" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["t2", "seg"])
def test_a_different_affine_is_reported_and_rounding_is_tolerated(raw_cohort, case, spoil, kind):
    record = read_case(case, ReadingRules(BRATS2021)).record
    affine = np.array(record.grid.affine)
    spoil(raw_cohort, case.case_id, kind, affine=affine + 4e-4)
    assert read_case(case, ReadingRules(BRATS2021)).record.content_hash == record.content_hash
    affine[0, 3] += 2
    spoil(raw_cohort, case.case_id, kind, affine=affine)
    with pytest.raises(
        DataError,
        match=rf"_{kind}\.nii\.gz has another origin than .*_flair\.nii\.gz, by up to 2 mm; .*data\.trust_affine_of",
    ):
        read_case(case, ReadingRules(BRATS2021))


def test_other_axes_are_reported(raw_cohort, case, spoil):
    affine = np.array(read_case(case, ReadingRules(BRATS2021)).record.grid.affine)
    spoil(raw_cohort, case.case_id, "t2", affine=affine @ np.diag([1, 1, 1.5, 1]))
    with pytest.raises(DataError, match=r"_t2\.nii\.gz has other axes .* than .*_flair\.nii\.gz, by up to 0\.5 mm"):
        read_case(case, ReadingRules(BRATS2021))


def test_a_trusted_header_places_the_files_that_lost_theirs(raw_cohort, case, spoil):
    rules = ReadingRules(BRATS2021, trust_affine_of="t1ce")
    expected = read_case(case, rules).record.content_hash
    assert expected == read_case(case, ReadingRules(BRATS2021)).record.content_hash
    for kind in ("flair", "seg"):
        spoil(raw_cohort, case.case_id, kind, affine=np.eye(4))
    with pytest.raises(DataError, match=r"another origin|other axes"):
        read_case(case, ReadingRules(BRATS2021))
    assert read_case(case, rules).record.content_hash == expected
    spoil(raw_cohort, case.case_id, "seg", lambda a: a[:-1])
    with pytest.raises(DataError, match="11×14×10 voxels"):
        read_case(case, rules)


@pytest.mark.parametrize("value", [-0.9, 1000.0])
def test_another_background_is_found_at_the_corners(raw_cohort, case, spoil, value):
    expected = read_case(case, ReadingRules(BRATS2021))
    for kind in ("flair", "t1", "t1ce", "t2"):
        spoil(raw_cohort, case.case_id, kind, lambda a: (a + np.float32(value)).astype(np.float32))
    found = read_case(case, ReadingRules(BRATS2021))
    assert found.record.box == expected.record.box
    np.testing.assert_array_equal(found.images != 0, expected.images != 0)
    np.testing.assert_allclose(found.images, expected.images, atol=1e-3)
    np.testing.assert_allclose(found.record.std, expected.record.std, rtol=1e-6)
    given = read_case(case, ReadingRules(BRATS2021, background=value))
    np.testing.assert_array_equal(given.images, found.images)


def test_an_image_without_background_is_refused_unless_declared(raw_cohort, case, spoil):
    noise = np.random.default_rng(0).integers(1, 50, (12, 14, 10)).astype(np.int16)
    spoil(raw_cohort, case.case_id, "t1", lambda a: a + noise)
    with pytest.raises(DataError, match=r"_t1\.nii\.gz has no background \(corners \d+ to \d+\); .*data\.background"):
        read_case(case, ReadingRules(BRATS2021))
    record = read_case(case, ReadingRules(BRATS2021, background="none")).record
    assert record.box.shape == (12, 14, 10)


def test_an_image_that_is_constant_above_its_background_is_refused(raw_cohort, case, spoil):
    spoil(raw_cohort, case.case_id, "t1", lambda a: np.where(a == 0, -1, 5).astype(np.int16))
    with pytest.raises(DataError, match=r"_t1\.nii\.gz \(t1\) has one value in all non-zero voxels"):
        read_case(case, ReadingRules(BRATS2021))


def test_a_fraction_is_no_background_of_integers(case):
    with pytest.raises(DataError, match=r"whole numbers only, so data\.background=-0\.5 cannot be one; correct it"):
        read_case(case, ReadingRules(BRATS2021, background=-0.5))


def test_a_background_of_integers_stays_lossless(raw_cohort, case, spoil):
    expected = read_case(case, ReadingRules(BRATS2021))
    spoil(raw_cohort, case.case_id, "t2", lambda a: (a.astype(np.uint16) + 60_000).astype(np.uint16))
    found = read_case(case, ReadingRules(BRATS2021))
    assert found.record.content_hash == expected.record.content_hash


def test_labels_that_a_header_scales_are_rounded_within_a_thousandth(raw_cohort, case, spoil):
    expected = read_case(case, ReadingRules(BRATS2021)).record.content_hash
    spoil(raw_cohort, case.case_id, "seg", lambda a: a * np.float64(0.9998))
    assert read_case(case, ReadingRules(BRATS2021)).record.content_hash == expected
    spoil(raw_cohort, case.case_id, "seg", lambda a: a * np.float64(0.9996))
    with pytest.raises(DataError, match=r"label value 1\.9988, 3\.9976"):
        read_case(case, ReadingRules(BRATS2021))


def test_label_values_of_another_scheme_are_refused_with_all_values_of_the_file(case):
    with pytest.raises(
        validation.UnknownLabels, match=r"label value 4 is not in labels=brats2023 \(0, 1, 2, 3\)"
    ) as caught:
        read_case(case, ReadingRules(LabelScheme.named_before("brats2023")))
    assert caught.value.values == (0, 1, 2, 4)


def test_validate_files():
    modalities = ("flair", "t1", "t1ce", "t2")

    def case(case_id: str, *missing: str, folder: str = "a", segmentation: bool = True) -> RawCase:
        images = {m: (Path(folder) / m, None) for m in modalities if m not in missing}
        return RawCase(case_id, case_id, images, Path(folder) / "seg" if segmentation else None)

    cases = [case("A"), case("B", "t1", "t2"), case("C", segmentation=False), case("D"), case("D", folder="b")]
    problems = validation.validate_files(cases, LAYOUTS["brats2021"], need_segmentation=True)
    assert set(problems) == {"B", "C", "D"}
    assert problems["B"].startswith("modality t1, t2 is missing")
    assert problems["C"].startswith("the segmentation is missing")
    assert problems["D"] == "the id occurs 2 times (a, b); keep one"
    assert set(validation.validate_files(cases, LAYOUTS["brats2021"], need_segmentation=False)) == {"B", "D"}


def test_background_contact_by_hand():
    ed, ncr = validation.background_contact(_rim_and_core(1, 2), BRATS2021)
    assert ed == 6 * 8 * 8 / (8**3 - 4**3)
    assert ncr == 0
    assert validation.background_contact(_rim_and_core(1, 3), BRATS2021) is None


def test_contact_counts_the_volume_border_as_background():
    nested = np.ones((2, 2, 2), dtype=np.uint8)
    nested[0, 0, 0] = 2
    assert validation.background_contact(nested, BRATS2021) == (3.0, 3.0)


def test_swapped_tissues_are_rejected_by_majority():
    correct, swapped = (1.0, 0.1), (0.1, 1.0)
    msd, known = LabelScheme.named_before("msd"), known_schemes()
    validation.check_plausible({"a": correct, "b": correct, "c": swapped, "d": None}, msd, known)
    validation.check_plausible({"a": correct, "b": swapped}, msd, known)  # no majority
    validation.check_plausible({"a": None}, msd, known)
    with pytest.raises(DataError, match=r"labels=msd: in 2 of 3 cases NCR .* than ED does.*; set labels=brats2023, or"):
        validation.check_plausible({"a": correct, "b": swapped, "c": swapped}, msd, known)
    with pytest.raises(DataError, match=r"labels=msd: .*; check labels, or set job\.trust_convention=true"):
        validation.check_plausible({"a": swapped}, msd, [])
    with pytest.raises(
        DataError, match=r"labels=brats2024_gli: in 1 of 1 cases NETC .* than SNFH does.*; check labels, or"
    ):
        validation.check_plausible({"a": swapped}, GLI2024, known)  # no scheme has these four values otherwise


def test_the_swap_of_a_scheme_without_such_tissues_is_not_checked():
    assert MEN_RT.outside_inside == ()
    assert validation.background_contact(_rim_and_core(1, 1), MEN_RT) is None


def test_the_contact_is_of_the_two_tissues_that_the_scheme_names():
    shells = _rim_and_core(1, 2)  # of GLI2024: SNFH around NETC
    shells[0, 0, 0] = 4  # RC, which is neither
    assert validation.background_contact(shells, GLI2024) == (6 * 8 * 8 / (8**3 - 4**3), 0)
    inverted = replace(GLI2024, outside_inside=("NETC", "SNFH"))
    assert validation.background_contact(shells, inverted) == (0, 6 * 8 * 8 / (8**3 - 4**3))


@pytest.mark.parametrize(
    ("scheme", "case_id", "others"),
    [
        ("brats2021", "BraTS2021_00000", None),
        ("brats2021", "anything", None),
        ("brats2023", "BraTS-GLI-00005-000", None),
        ("brats2024_gli", "BraTS-GLI-00005-100", None),
        ("brats_men", "BraTS-MEN-00004-000", None),
        ("brats_men_rt", "BraTS-MEN-RT-0000-1", None),
        ("brats2023", "BraTS-MET-00001-000", "brats_met"),
        ("brats_ped", "BraTS-GLI-00005-000", "brats2023 or brats2024_gli"),
        ("brats_men", "BraTS-MEN-RT-0000-1", "brats_men_rt"),
        ("brats_men_rt", "BraTS-MEN-00004-000", "brats_men"),
        ("brats_met", "BRATS_001", "msd"),
        ("brats_met", "ours_17", None),  # of no challenge
    ],
)
def test_ids_of_a_challenge_with_another_scheme_are_refused(scheme, case_id, others):
    labels = scheme_named(scheme)
    if others is None:
        validation.check_case_ids([case_id], labels, known_schemes())
        return
    with pytest.raises(
        DataError,
        match=rf"^case {case_id} is named as data with labels={others}, not labels={scheme}; set .*job\.trust_convention=true",
    ):
        validation.check_case_ids(["ours_17", case_id], labels, known_schemes())


@pytest.mark.parametrize(
    ("values", "ids", "expected"),
    [
        ({0, 1, 2, 4}, ["x"], ["brats2021", "brats2024_gli", "brats_ped"]),
        ({0, 1, 2, 4}, ["BraTS-PED-00001-000"], ["brats_ped"]),
        ({1, 2, 3, 4}, ["x"], ["brats2024_gli", "brats_ped"]),
        ({0, 1, 2, 4}, ["BraTS-PED-00001-000", "x"], ["brats2021", "brats2024_gli", "brats_ped"]),
        ({0, 1, 2, 3}, ["BRATS_001"], ["msd"]),
        ({0, 1}, ["BraTS-MEN-RT-0000-1"], ["brats_men_rt"]),
        ({0, 5}, ["x"], []),
        ({0, 0.5}, ["x"], []),
    ],
)
def test_schemes_that_have_all_values_and_fit_the_ids(values, ids, expected):
    assert sorted(validation.fitting_schemes(values, ids, known_schemes())) == expected
