"""Preparing data in other label schemes, and what is refused or prepared again because of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from schemes import BRATS2021, GLI2024, LAYOUTS

from brats_ablate.config.data_options import known_schemes, scheme_named
from brats_ablate.data.preprocess import preprocess_dataset
from brats_ablate.data.store import CaseStore
from brats_ablate.errors import DataError
from brats_ablate.labels.scheme import LabelScheme


def _prepare(raw, prepared, **changes):
    settings = {"name": "x", "layout": LAYOUTS["brats2021"], "labels": BRATS2021, "workers": 1} | changes
    return preprocess_dataset(raw, prepared, **settings)


def test_msd_labels_declared_as_brats2023_are_rejected_unless_trusted(tmp_path, write_raw):
    for n in range(5):
        # Files in the layout of BraTS 2023 whose values are the MSD's: every value is known, two are swapped.
        write_raw(tmp_path / "raw", f"BraTS-GLI-0000{n}-000", "brats2023", number=n, convention="msd")
    brats2023, msd = (LabelScheme.named_before(name) for name in ("brats2023", "msd"))
    wrong = {"layout": LAYOUTS["brats2023"], "labels": brats2023, "known": [brats2023, msd]}
    with pytest.raises(DataError, match=r"do not look like labels=brats2023: in 5 of 5 .*set labels=msd, or"):
        _prepare(tmp_path / "raw", tmp_path / "p", **wrong)
    with pytest.raises(DataError, match="is not prepared"):
        CaseStore(tmp_path / "p")
    _prepare(tmp_path / "raw", tmp_path / "p", layout=LAYOUTS["brats2023"], labels=msd)
    assert _prepare(tmp_path / "raw", tmp_path / "q", **wrong, trust_convention=True).cases == 5


def test_cases_are_prepared_again_only_where_the_tissues_change(tmp_path, raw_cohort):
    prepared, gli = tmp_path / "prepared", replace(BRATS2021, tissues={"ED": 2, "NCR": 1, "ET": 4, "RC": 3})
    first = _prepare(raw_cohort, prepared)
    regions = {"WT": ["ED", "NCR", "ET"], "TC": ["NCR", "ET"], "ET": ["ET"]}
    other_scores = replace(BRATS2021, name="mine", averaged=["WT", "ET"])
    second = _prepare(raw_cohort, prepared, labels=other_scores)
    assert (second.written, second.fingerprint == first.fingerprint) == (0, False)
    assert CaseStore(prepared).labels.to_dict() == other_scores.to_dict()
    assert _prepare(raw_cohort, prepared).fingerprint == first.fingerprint
    assert _prepare(raw_cohort, prepared, labels=gli).written == 5
    assert _prepare(raw_cohort, prepared).written == 5
    reordered = replace(BRATS2021, tissues={"NCR": 1, "ED": 2, "ET": 4}, regions=regions)  # other stored labels
    assert _prepare(raw_cohort, prepared, labels=reordered).written == 5


def test_files_of_another_scheme_are_invalid_and_the_fitting_ones_are_named(tmp_path, raw_cohort, spoil):
    known = known_schemes()
    for number in range(5):
        spoil(raw_cohort, f"BraTS2021_{number:05d}", "seg", lambda a: np.where(a == 4, 5, a).astype(np.uint8))
    with pytest.raises(
        DataError, match=r"none of the 5 cases .*label value 5 is not in labels=brats2021 \(0, 1, 2, 4\)$"
    ):
        _prepare(raw_cohort, tmp_path / "none", known=known)
    spoil(raw_cohort, "BraTS2021_00001", "seg", lambda a: np.where(a == 5, 4, a).astype(np.uint8))
    for number in (0, 2, 3, 4):
        spoil(raw_cohort, f"BraTS2021_{number:05d}", "seg", lambda a: np.where(a == 5, 3, a).astype(np.uint8))
    summary = _prepare(raw_cohort, tmp_path / "some", known=known)
    # 1, 2 and 4 in one case, 1, 2 and 3 in the others
    assert (summary.cases, sorted(summary.fitting)) == (1, ["brats2024_gli", "brats_ped"])
    spoil(raw_cohort, "BraTS2021_00001", "seg", lambda a: np.where(a == 4, 3, a).astype(np.uint8))
    with pytest.raises(
        DataError, match=r"label value 3 .*; the values of all cases fit labels=brats2023 or labels=brats2024_gli or"
    ):
        _prepare(raw_cohort, tmp_path / "all", known=known)
    fits = LabelScheme.named_before("brats2023")
    assert not _prepare(raw_cohort, tmp_path / "fits", labels=fits, known=known).fitting


def test_values_of_another_scheme_are_named_before_tissues_that_look_swapped(tmp_path, write_raw, spoil):
    for number in range(5):
        write_raw(tmp_path / "raw", f"P{number}", number=number)
    spoil(tmp_path / "raw", "P3", "seg", lambda a: np.where(a == 4, 2, a).astype(np.uint8))
    with pytest.raises(
        DataError,
        match=r"^4 of 5 cases in .* could not be prepared; P0: .*_seg\.nii\.gz: label value 4 is not in "
        r"labels=msd \(0, 1, 2, 3\); the values of all cases fit labels=brats2021",
    ):
        _prepare(tmp_path / "raw", tmp_path / "p", labels=scheme_named("msd"), known=known_schemes())
    with pytest.raises(DataError, match=r"is not prepared"):
        CaseStore(tmp_path / "p")


def test_ids_of_another_challenge_are_refused_unless_trusted(tmp_path, write_raw):
    for n in range(5):
        write_raw(tmp_path / "raw", f"BraTS-PED-0000{n}-000", "brats2023", number=n)
    wrong = {"layout": LAYOUTS["brats2023"], "labels": scheme_named("brats2023"), "known": known_schemes()}
    with pytest.raises(
        DataError, match=r"case BraTS-PED-00000-000 is named as data with labels=brats_ped, not labels=brats2023"
    ):
        _prepare(tmp_path / "raw", tmp_path / "p", **wrong)
    assert _prepare(tmp_path / "raw", tmp_path / "q", **wrong, trust_convention=True).cases == 5


def test_a_scheme_of_four_tissues_is_stored_and_returned(tmp_path, write_raw, spoil):
    write_raw(tmp_path / "raw", "BraTS2021_00000", number=0)

    def with_cavity(array):
        array = np.where(array == 4, 3, array).astype(np.uint8)
        array[3:5, 3, 3] = 4
        return array

    spoil(tmp_path / "raw", "BraTS2021_00000", "seg", with_cavity)
    for number in (1, 2, 3, 4):
        write_raw(tmp_path / "raw", f"BraTS2021_{number:05d}", number=number)
    _prepare(tmp_path / "raw", tmp_path / "p", labels=GLI2024)
    store = CaseStore(tmp_path / "p")
    assert store.labels.to_dict() == GLI2024.to_dict()
    assert np.bincount(store.read_labels("BraTS2021_00000").ravel(), minlength=5)[4] == 2
    assert {component.tissue for component in store.record("BraTS2021_00000").components} == {1, 2, 3, 4}
