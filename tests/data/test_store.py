from __future__ import annotations

import errno
import gzip
import json
import shutil
import threading
from dataclasses import replace
from pathlib import Path

import blosc2
import nibabel as nib
import numpy as np
import pytest
from schemes import BRATS2021, LAYOUTS

from brats_ablate.cases import BBox
from brats_ablate.data import nifti
from brats_ablate.data.case_reader import ReadingRules, read_case
from brats_ablate.data.preprocess import preprocess_dataset
from brats_ablate.data.raw_cases import find_cases
from brats_ablate.data.store import CaseStore, to_original_space
from brats_ablate.errors import DataError
from brats_ablate.labels.scheme import LabelScheme


@pytest.fixture
def prepared(raw_cohort, tmp_path):
    preprocess_dataset(
        raw_cohort, tmp_path / "prepared", name="test", layout=LAYOUTS["brats2021"], labels=BRATS2021, workers=1
    )
    return tmp_path / "prepared"


def test_store_returns_what_was_read(prepared, raw_cohort):
    store = CaseStore(prepared)
    head = json.loads((prepared / "cohort.json").read_text())
    assert (head["name"], head["layout"], store.labels.to_dict()) == ("test", "brats2021", BRATS2021.to_dict())
    for raw in find_cases(raw_cohort, LAYOUTS["brats2021"], need_segmentation=True):
        case = read_case(raw, ReadingRules(BRATS2021))
        assert store.record(raw.case_id) == case.record
        np.testing.assert_array_equal(store.read_images(raw.case_id), case.images)
        np.testing.assert_array_equal(store.read_labels(raw.case_id), case.labels)


def test_reading_a_box_equals_slicing(prepared):
    store = CaseStore(prepared)
    box = BBox((1, 0, 2), (6, 10, 5))
    case_id = store.case_ids[2]
    np.testing.assert_array_equal(
        store.read_images(case_id, box), store.read_images(case_id)[(slice(None), *box.slices)]
    )
    np.testing.assert_array_equal(store.read_labels(case_id, box), store.read_labels(case_id)[box.slices])
    assert store.read_images(case_id, box).flags.c_contiguous


@pytest.mark.parametrize("chosen", [["t1ce"], ["t1ce", "flair"], ["flair", "t1", "t1ce", "t2"]])
def test_chosen_channels_in_the_chosen_order(prepared, chosen):
    full, store = CaseStore(prepared), CaseStore(prepared, chosen)
    assert full.modalities == ("flair", "t1", "t1ce", "t2")
    assert store.modalities == tuple(chosen)
    assert store.fingerprint == full.fingerprint
    rows = [full.modalities.index(m) for m in chosen]
    for case_id in store.case_ids[:2]:
        record, expected = store.record(case_id), full.record(case_id)
        assert record.mean == tuple(expected.mean[r] for r in rows)
        assert record.std == tuple(expected.std[r] for r in rows)
        assert replace(record, mean=expected.mean, std=expected.std) == expected
        for box in (None, BBox((1, 0, 2), (6, 10, 5))):
            images = store.read_images(case_id, box)
            np.testing.assert_array_equal(images, full.read_images(case_id, box)[rows])
            assert images.dtype == np.int16
            assert images.flags.c_contiguous
            np.testing.assert_array_equal(store.read_labels(case_id, box), full.read_labels(case_id, box))


def test_pictures_show_t1ce_and_flair_or_else_the_first_channel(prepared):
    case_id = "BraTS2021_00001"
    images = CaseStore(prepared).read_images(case_id)
    for chosen, expected in (
        (None, {"t1ce": 2, "flair": 0}),
        (["t2", "flair"], {"flair": 0}),
        (["t1ce", "t1"], {"t1ce": 2}),
        (["t2", "t1"], {"t2": 3}),
    ):
        shown = CaseStore(prepared, chosen).read_shown(case_id)
        assert list(shown) == list(expected)
        for name, row in expected.items():
            np.testing.assert_array_equal(shown[name], images[row])


def test_a_modality_that_was_not_prepared_is_refused(prepared):
    with pytest.raises(DataError, match=r"inputs\.modalities: .* contains no adc; choose from flair, t1, t1ce, t2"):
        CaseStore(prepared, ["flair", "adc"])


def test_threads_may_share_a_store(prepared):
    store = CaseStore(prepared)
    expected = {c: store.read_images(c).sum() for c in store.case_ids}
    wrong = []

    def read():
        for c in store.case_ids * 5:
            if store.read_images(c).sum() != expected[c]:
                wrong.append(c)

    threads = [threading.Thread(target=read) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not wrong


def test_folds_cover_every_case_once(prepared):
    store = CaseStore(prepared)
    assert sorted(c for fold in store.folds for c in fold) == store.case_ids


@pytest.mark.parametrize("orientation", ["LPS", "RAS", "permuted"])
@pytest.mark.parametrize(
    ("layout", "convention", "case_id"),
    [
        ("brats2021", "brats2021", "BraTS2021_00000"),
        ("brats2018", "brats2021", "Brats18_A_1"),
        ("brats2023", "brats2023", "BraTS-GLI-00000-000"),
        ("msd", "msd", "BRATS_001"),
    ],
)
def test_reference_returns_voxel_for_voxel_with_its_affine(
    tmp_path, write_raw, layout, convention, case_id, orientation
):
    """Reference -> crop -> one-hot region probabilities -> cascade -> original space -> file: the same file."""
    write_raw(tmp_path / "raw", case_id, layout, orientation)
    (raw,) = find_cases(tmp_path / "raw", LAYOUTS[layout], need_segmentation=True)
    scheme = LabelScheme.named_before(convention)
    case = read_case(raw, ReadingRules(scheme))
    probabilities = to_original_space(case.record, scheme.to_regions_np(case.labels).astype(np.float32))
    nested = scheme.labels_from_probabilities(probabilities, (0.45, 0.4, 0.45))
    nifti.write_labels(tmp_path / "out.nii.gz", scheme.decode(nested), np.array(case.record.grid.affine))
    reference, written = nib.load(raw.segmentation), nib.load(tmp_path / "out.nii.gz")
    np.testing.assert_array_equal(np.asanyarray(written.dataobj), np.asanyarray(reference.dataobj))
    np.testing.assert_array_equal(written.affine, reference.affine)


def test_original_space_is_zero_outside_and_rejects_another_shape(prepared):
    record = CaseStore(prepared).record("BraTS2021_00000")
    inside = np.full((3, *record.box.shape), 0.5, dtype=np.float16)
    original = to_original_space(record, inside)
    assert original.shape == (3, *record.grid.shape)
    assert original.dtype == np.float16
    assert (original == 0.5).sum() == inside.size
    assert (original == 0).sum() == original.size - inside.size > 0
    with pytest.raises(ValueError, match="differs from the box's"):
        to_original_space(record, inside[..., 1:])


def test_not_prepared_names_the_command(tmp_path):
    with pytest.raises(DataError, match=r"is not prepared; run job=prepare again, with") as caught:
        CaseStore(tmp_path)
    assert "\n" not in str(caught.value)


def _edit_head(prepared, **changes):
    head = json.loads((prepared / "cohort.json").read_text())
    (prepared / "cohort.json").write_text(json.dumps(head | changes))


def test_lost_case_changed_list_and_different_version_are_rejected(prepared):
    shutil.move(prepared / "cases" / "BraTS2021_00002", prepared / "away")
    with pytest.raises(DataError, match=r"1 cases are missing \(BraTS2021_00002"):
        CaseStore(prepared)
    shutil.move(prepared / "away", prepared / "cases" / "BraTS2021_00002")
    CaseStore(prepared)
    _edit_head(prepared, labels=LabelScheme.named_before("msd").to_dict())
    with pytest.raises(DataError, match="do not match its fingerprint"):
        CaseStore(prepared)
    _edit_head(prepared, version=0)
    with pytest.raises(DataError, match="a different version"):
        CaseStore(prepared)


def test_a_case_that_is_not_the_cohorts_is_rejected(prepared):
    store = CaseStore(prepared)
    ours, other = (prepared / "cases" / c / "images.b2nd" for c in ("BraTS2021_00000", "BraTS2021_00001"))
    shutil.copy(other, ours)
    with pytest.raises(DataError, match="was prepared again since"):
        store.read_images("BraTS2021_00000")
    ours.write_bytes(other.read_bytes()[:200])
    with pytest.raises(DataError, match="is damaged; delete its folder"):
        store.read_images("BraTS2021_00000")
    ours.unlink()
    with pytest.raises(DataError, match="is missing"):
        store.read_images("BraTS2021_00000")


def test_a_lost_file_system_is_not_taken_for_a_damaged_case(prepared, monkeypatch):
    store = CaseStore(prepared)
    file = prepared / "cases" / "BraTS2021_00000" / "images.b2nd"
    read = Path.read_bytes

    def open_nothing(*arguments, **options):
        raise RuntimeError("blosc2 gives no reason")

    def fail(path):
        if path == file:
            raise OSError(errno.EIO, "Input/output error")
        return read(path)

    monkeypatch.setattr(blosc2, "open", open_nothing)
    monkeypatch.setattr(Path, "read_bytes", fail)
    with pytest.raises(OSError, match="Input/output error") as caught:
        store.read_images("BraTS2021_00000")
    assert (caught.value.errno, caught.value.filename) == (errno.EIO, str(file))


def test_unknown_case(prepared):
    with pytest.raises(DataError, match="contains no case 'BraTS2021_99999'"):
        CaseStore(prepared).record("BraTS2021_99999")


@pytest.mark.real
def test_real_references_return_voxel_for_voxel(real_cases, tmp_path):
    for raw in find_cases(real_cases, LAYOUTS["brats2021"], need_segmentation=True):
        case = read_case(raw, ReadingRules(BRATS2021))
        out = tmp_path / "out.nii.gz"
        nested = to_original_space(case.record, case.labels)
        nifti.write_labels(out, BRATS2021.decode(nested), np.array(case.record.grid.affine))
        with gzip.open(raw.segmentation) as file:
            reference = nib.Nifti1Image.from_bytes(file.read())
        written = nib.load(out)
        np.testing.assert_array_equal(np.asanyarray(written.dataobj), np.asanyarray(reference.dataobj))
        np.testing.assert_array_equal(written.affine, reference.affine)
