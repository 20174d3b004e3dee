from __future__ import annotations

import csv
import errno
import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
from schemes import BRATS2021, LAYOUTS

from brats_ablate.data import blosc2_io
from brats_ablate.data.preprocess import preprocess_dataset
from brats_ablate.data.store import CaseStore
from brats_ablate.errors import DataError
from brats_ablate.labels.scheme import LabelScheme

PROGRAM = """
import sys
from pathlib import Path
from brats_ablate.config.data_options import known_layouts
from brats_ablate.data.preprocess import preprocess_dataset
from brats_ablate.labels.scheme import LabelScheme
if __name__ == "__main__":
    raw, prepared = map(Path, sys.argv[1:3])
    preprocess_dataset(raw, prepared, name="x", layout=known_layouts()["brats2021"],
                       labels=LabelScheme.named_before("brats2021"), workers=2)
"""


def _with(modalities):
    """The layout of BraTS 2021 with some of its modalities."""
    names = LAYOUTS["brats2021"].modalities
    return replace(LAYOUTS["brats2021"], modalities={m: names[m] for m in modalities})


def _prepare(raw, prepared, **changes):
    settings = {"name": "x", "layout": LAYOUTS["brats2021"], "labels": BRATS2021, "workers": 1} | changes
    return preprocess_dataset(raw, prepared, **settings)


def _times(prepared):
    return {str(p): p.stat().st_mtime_ns for p in (prepared / "cases").glob("BraTS*/*")}


def _problems(prepared):
    with open(prepared / "problems.csv", newline="") as file:
        return {row["case"]: row["reason"] for row in csv.DictReader(file)}


def _contents(prepared):
    return {p.relative_to(prepared): p.read_bytes() for p in sorted(prepared.rglob("*")) if p.is_file()}


@pytest.mark.slow
def test_processes_and_one_process_write_the_same_bytes(raw_cohort, tmp_path):
    one = _prepare(raw_cohort, tmp_path / "one")
    two = _prepare(raw_cohort, tmp_path / "two", workers=2)
    assert one.fingerprint == two.fingerprint
    assert _contents(tmp_path / "one") == _contents(tmp_path / "two")


def test_second_call_does_nothing(raw_cohort, tmp_path):
    first = _prepare(raw_cohort, tmp_path / "p")
    before, times = _contents(tmp_path / "p"), _times(tmp_path / "p")
    second = _prepare(raw_cohort, tmp_path / "p")
    assert (first.written, second.written, second.cases) == (5, 0, 5)
    assert _contents(tmp_path / "p") == before
    assert _times(tmp_path / "p") == times


def test_only_changed_and_lost_cases_are_prepared_again(raw_cohort, tmp_path, spoil):
    first = _prepare(raw_cohort, tmp_path / "p")
    spoil(raw_cohort, "BraTS2021_00001", "t1", lambda a: a * (a > 100))
    (tmp_path / "p/cases/BraTS2021_00003/labels.b2nd").unlink()
    second = _prepare(raw_cohort, tmp_path / "p")
    assert second.written == 2
    assert second.fingerprint != first.fingerprint
    assert _prepare(raw_cohort, tmp_path / "p").written == 0


def test_other_channels_are_prepared_again_and_recorded(raw_cohort, tmp_path):
    four = _prepare(raw_cohort, tmp_path / "p")
    full = CaseStore(tmp_path / "p")
    images = full.read_images("BraTS2021_00002")
    folds = (tmp_path / "p/folds.json").read_bytes()
    for modalities, rows in ((["t1ce"], [2]), (["t2", "flair"], [3, 0]), (["flair", "t2"], [0, 3])):
        summary = _prepare(raw_cohort, tmp_path / "p", layout=_with(modalities))
        assert summary.written == 5
        assert summary.fingerprint != four.fingerprint
        store = CaseStore(tmp_path / "p")
        assert store.modalities == tuple(modalities)
        np.testing.assert_array_equal(store.read_images("BraTS2021_00002"), images[rows])
        assert (tmp_path / "p/folds.json").read_bytes() == folds
        assert _prepare(raw_cohort, tmp_path / "p", layout=_with(modalities)).written == 0


def test_a_case_needs_only_the_modalities_of_the_data_set(raw_cohort, tmp_path):
    (raw_cohort / "BraTS2021_00000/BraTS2021_00000_t2.nii.gz").unlink()
    assert _prepare(raw_cohort, tmp_path / "p", layout=_with(["t1ce", "t1"])).problems == {}
    problems = _prepare(raw_cohort, tmp_path / "p", layout=_with(["t1ce", "t2"])).problems
    assert list(problems) == ["BraTS2021_00000"]
    assert problems["BraTS2021_00000"].startswith("modality t2 is missing (not recognized: ")


def test_cases_of_version_0_1_which_names_no_channels_are_up_to_date(raw_cohort, tmp_path):
    _prepare(raw_cohort, tmp_path / "p")
    for file in (tmp_path / "p/cases").glob("*/case.json"):
        described = json.loads(file.read_text())
        assert described.pop("channels") == ["flair", "t1", "t1ce", "t2"]
        assert described.pop("volumes") == [None] * 4
        file.write_text(json.dumps(described))
    assert _prepare(raw_cohort, tmp_path / "p").written == 0
    assert _prepare(raw_cohort, tmp_path / "p", layout=_with(["t1"])).written == 5


def test_invalid_cases_are_reported_and_the_others_prepared(raw_cohort, tmp_path, spoil):
    def truncate(path):
        path.write_bytes(path.read_bytes()[:200])

    (raw_cohort / "BraTS2021_00000/BraTS2021_00000_t1ce.nii.gz").unlink()
    truncate(raw_cohort / "BraTS2021_00002/BraTS2021_00002_t2.nii.gz")
    repaired = (raw_cohort / "BraTS2021_00004/BraTS2021_00004_seg.nii.gz").read_bytes()
    spoil(raw_cohort, "BraTS2021_00004", "seg", lambda a: np.where(a == 4, 3, a).astype(np.uint8))
    summary = _prepare(raw_cohort, tmp_path / "p", workers=2)
    assert summary.cases == 2
    assert _problems(tmp_path / "p") == dict(summary.problems)
    reasons = summary.problems
    assert reasons["BraTS2021_00000"].startswith("modality t1ce is missing")
    assert "BraTS2021_00002_t2.nii.gz is a truncated gzip file" in reasons["BraTS2021_00002"]
    assert "label value 3" in reasons["BraTS2021_00004"]
    assert CaseStore(tmp_path / "p").case_ids == ["BraTS2021_00001", "BraTS2021_00003"]

    drawn = CaseStore(tmp_path / "p").folds
    (raw_cohort / "BraTS2021_00004/BraTS2021_00004_seg.nii.gz").write_bytes(repaired)
    assert _prepare(raw_cohort, tmp_path / "p").cases == 3
    # Fixing a case moves no other case to another fold.
    after = CaseStore(tmp_path / "p").folds
    assert [[c for c in fold if c != "BraTS2021_00004"] for fold in after] == drawn
    assert set(_problems(tmp_path / "p")) == {"BraTS2021_00000", "BraTS2021_00002"}


@pytest.mark.parametrize("dtype", [[("R", "u1"), ("G", "u1"), ("B", "u1")], np.complex64])
def test_a_segmentation_of_colors_or_complex_numbers_is_one_invalid_case(raw_cohort, tmp_path, spoil, dtype):
    spoil(raw_cohort, "BraTS2021_00001", "seg", lambda a: np.zeros(a.shape, dtype))
    summary = _prepare(raw_cohort, tmp_path / "p")
    assert summary.cases == 4
    assert "voxels; labels must be plain numbers" in summary.problems["BraTS2021_00001"]


def test_duplicate_ids_are_invalid(raw_cohort, tmp_path, write_raw):
    write_raw(raw_cohort / "copy", "BraTS2021_00001")
    assert set(_prepare(raw_cohort, tmp_path / "p").problems) == {"BraTS2021_00001"}


def test_no_valid_case_is_an_error_with_a_reason(tmp_path, raw_cohort):
    for path in raw_cohort.rglob("*_t1.nii.gz"):
        path.unlink()
    with pytest.raises(DataError, match=r"none of the 5 cases .* BraTS2021_00000: modality t1 is missing"):
        _prepare(raw_cohort, tmp_path / "p")
    assert not (tmp_path / "p/cohort.json").exists()


def test_cases_without_segmentation(tmp_path, raw_cohort, write_raw):
    write_raw(raw_cohort, "BraTS2021_00009", segmentation=False)
    assert (
        _prepare(raw_cohort, tmp_path / "strict").problems["BraTS2021_00009"].startswith("the segmentation is missing")
    )
    _prepare(raw_cohort, tmp_path / "p", require_segmentation=False)
    store = CaseStore(tmp_path / "p")
    assert len(store.case_ids) == 6
    assert not any("BraTS2021_00009" in fold for fold in store.folds)
    with pytest.raises(DataError, match="BraTS2021_00009 has no segmentation"):
        store.read_labels("BraTS2021_00009")


def test_a_set_without_segmentations_is_prepared_as_the_first_message_says(tmp_path, raw_cohort):
    for path in raw_cohort.rglob("*_seg.nii.gz"):
        path.unlink()
    with pytest.raises(DataError, match=r"the segmentation is missing; .*job\.require_segmentation=false"):
        _prepare(raw_cohort, tmp_path / "p")
    assert _prepare(raw_cohort, tmp_path / "p", require_segmentation=False).cases == 5
    assert CaseStore(tmp_path / "p").folds == [[]] * 5


def test_a_cohort_without_any_labeled_voxel_is_refused_for_training(tmp_path, raw_cohort, spoil):
    for number in range(5):
        spoil(raw_cohort, f"BraTS2021_{number:05d}", "seg", np.zeros_like)
    with pytest.raises(DataError, match=r"no case in .* has a labeled voxel: .*job\.require_segmentation=false"):
        _prepare(raw_cohort, tmp_path / "prepared")
    assert not (tmp_path / "prepared" / "cohort.json").exists()
    assert _prepare(raw_cohort, tmp_path / "other", require_segmentation=False).cases == 5


def test_cases_are_prepared_again_when_they_are_read_otherwise(tmp_path, raw_cohort):
    prepared = tmp_path / "prepared"
    assert _prepare(raw_cohort, prepared).written == 5
    for case in (prepared / "cases").iterdir():  # as earlier versions wrote it
        described = json.loads((case / "case.json").read_text())
        del described["background"], described["trust_affine_of"], described["tissues"]
        described["convention"] = "brats2021"
        (case / "case.json").write_text(json.dumps(described))
    assert _prepare(raw_cohort, prepared).written == 0
    assert _prepare(raw_cohort, prepared, trust_affine_of="t2").written == 5


@pytest.mark.parametrize("content", ["[]", "null", '{"record": []}', "{"])
def test_a_damaged_record_of_a_case_is_written_again(tmp_path, raw_cohort, content):
    prepared = tmp_path / "prepared"
    _prepare(raw_cohort, prepared)
    (prepared / "cases/BraTS2021_00001/case.json").write_text(content, encoding="utf-8")
    assert _prepare(raw_cohort, prepared).written == 1


def test_frozen_folds_reject_different_cases_and_settings(raw_cohort, tmp_path, write_raw):
    _prepare(raw_cohort, tmp_path / "p")
    folds = (tmp_path / "p/folds.json").read_bytes()
    with pytest.raises(DataError, match=r"frozen with data\.n_folds=5 data\.fold_seed=12345; delete .*folds\.json"):
        _prepare(raw_cohort, tmp_path / "p", n_folds=4)
    write_raw(raw_cohort, "BraTS2021_00009")
    with pytest.raises(DataError, match=r"cases changed since the folds were frozen \(1 added: BraTS2021_00009\)"):
        _prepare(raw_cohort, tmp_path / "p")
    assert (tmp_path / "p/folds.json").read_bytes() == folds
    (tmp_path / "p/folds.json").unlink()
    assert _prepare(raw_cohort, tmp_path / "p").cases == 6


def test_a_declared_pattern_keeps_the_scans_of_a_patient_together(tmp_path, write_raw):
    ids = [f"UPENN-GBM-{n:05d}_{visit}" for n in range(6) for visit in ("11", "21")]
    for number, case_id in enumerate(ids):
        write_raw(tmp_path / "raw", case_id, number=number)
    _prepare(tmp_path / "raw", tmp_path / "apart", n_folds=3)
    _prepare(tmp_path / "raw", tmp_path / "p", n_folds=3, patient=r"UPENN-GBM-\d+")
    store = CaseStore(tmp_path / "p")
    assert store.record(ids[1]).patient_id == "UPENN-GBM-00000"
    for fold in store.folds:
        patients = [case_id[:15] for case_id in fold]
        assert sorted(patients) == sorted(2 * list(set(patients)))
    with pytest.raises(DataError, match=r"scans of patient UPENN-GBM-\d+ are in several of the frozen folds; delete"):
        _prepare(tmp_path / "raw", tmp_path / "apart", n_folds=3, patient=r"(UPENN-GBM-\d+)_\d+")
    with pytest.raises(DataError, match=r"data\.patient=\\d\+ finds no patient in the case id UPENN-GBM-00000_11"):
        _prepare(tmp_path / "raw", tmp_path / "q", n_folds=3, patient=r"\d+")


def test_two_scans_of_a_patient_share_a_fold(tmp_path, write_raw):
    for n in range(12):
        write_raw(tmp_path / "raw", f"BraTS-GLI-{n // 2:05d}-{n % 2:03d}", "brats2023", number=n)
    _prepare(
        tmp_path / "raw", tmp_path / "p", layout=LAYOUTS["brats2023"], labels=LabelScheme.named_before("brats2023")
    )
    for fold in CaseStore(tmp_path / "p").folds:
        assert all(c[:-1] + other in fold for c in fold for other in "01")


@pytest.mark.slow
def test_kill_in_the_middle_loses_nothing(raw_cohort, tmp_path, write_raw):
    for n in range(5, 20):
        write_raw(raw_cohort, f"BraTS2021_{n:05d}", number=n)
    script = tmp_path / "program.py"
    script.write_text(PROGRAM)
    prepared = tmp_path / "killed"
    process = subprocess.Popen([sys.executable, str(script), str(raw_cohort), str(prepared)])
    while len(list(prepared.glob("cases/BraTS*"))) < 3 and process.poll() is None:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    done = _times(prepared)
    assert done, "killed too early to show anything"
    assert not (prepared / "cohort.json").exists(), "killed too late to show anything"
    with pytest.raises(DataError, match="is not prepared"):
        CaseStore(prepared)
    summary = _prepare(raw_cohort, prepared)
    assert 0 < summary.written <= 20 - len(done) // 3
    after = _times(prepared)
    assert {name: after[name] for name in done} == done
    _prepare(raw_cohort, tmp_path / "whole")
    assert _contents(prepared) == _contents(tmp_path / "whole")


@pytest.mark.parametrize(
    ("number", "remedy"),
    [(errno.ENOSPC, "free some space"), (errno.ESTALE, "the file system is lost or failing; bring it back")],
)
def test_a_failed_write_is_one_sentence_and_leaves_no_partial_case(raw_cohort, tmp_path, monkeypatch, number, remedy):
    write = blosc2_io.write_array

    def fail(path, array, content_hash):
        if "00002" in str(path):
            raise OSError(number, os.strerror(number), str(path))
        write(path, array, content_hash)

    monkeypatch.setattr(blosc2_io, "write_array", fail)
    with pytest.raises(DataError, match=rf"cannot be written \({os.strerror(number)}\); {remedy} and run"):
        _prepare(raw_cohort, tmp_path / "p")
    assert sorted(p.name for p in (tmp_path / "p/cases").iterdir()) == ["BraTS2021_00000", "BraTS2021_00001"]
    monkeypatch.undo()
    assert _prepare(raw_cohort, tmp_path / "p").written == 3


def test_a_second_call_at_the_same_time_is_rejected(raw_cohort, tmp_path):
    (tmp_path / "p").mkdir()
    with open(tmp_path / "p/.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(DataError, match="another job=prepare is running"):
            _prepare(raw_cohort, tmp_path / "p")


def test_a_record_is_parsed_on_first_use(raw_cohort, tmp_path):
    _prepare(raw_cohort, tmp_path / "p")
    lines = (tmp_path / "p/records.jsonl").read_text().splitlines()
    lines[4] = "not parsed"
    (tmp_path / "p/records.jsonl").write_text("\n".join(lines))
    head = json.loads((tmp_path / "p/cohort.json").read_text())
    del head["records_sha256"]  # as in stores of version 0.1
    (tmp_path / "p/cohort.json").write_text(json.dumps(head))
    assert CaseStore(tmp_path / "p").record("BraTS2021_00003").case_id == "BraTS2021_00003"
    with pytest.raises(json.JSONDecodeError):
        CaseStore(tmp_path / "p").record("BraTS2021_00004")


def test_a_corrected_order_of_volumes_prepares_the_cases_again(tmp_path, write_raw):
    for number in range(5):
        write_raw(tmp_path / "raw", f"BRATS_{number:03d}", "msd", number=number)
    settings = {"layout": LAYOUTS["msd"], "labels": LabelScheme.named_before("msd")}
    first = _prepare(tmp_path / "raw", tmp_path / "p", **settings)
    flair = CaseStore(tmp_path / "p").read_images("BRATS_000")[0]
    declared = tmp_path / "raw" / "dataset.json"
    declared.write_text('{"modality": {"0": "FLAIR", "1": "T1w", "2": "t1gd", "3": "T2w"}}')
    assert _prepare(tmp_path / "raw", tmp_path / "p", **settings).written == 0
    declared.write_text('{"modality": {"0": "T1w", "1": "t1gd", "2": "T2w", "3": "FLAIR"}}')
    second = _prepare(tmp_path / "raw", tmp_path / "p", **settings)
    assert (second.written, second.fingerprint == first.fingerprint) == (5, False)
    assert "channels: flair, t1, t1ce, t2 (volumes 3, 0, 1, 2 of the files)" in second.about
    assert np.array_equal(CaseStore(tmp_path / "p").read_images("BRATS_000")[1], flair)
    assert _prepare(tmp_path / "raw", tmp_path / "p", **settings).written == 0
    declared.unlink()
    assert _prepare(tmp_path / "raw", tmp_path / "p", **settings).fingerprint == first.fingerprint


def test_a_list_of_cases_prepares_the_same_store(tmp_path, raw_cohort):
    rows = [f"{c.name},{','.join(str(c / f'{c.name}_{k}.nii.gz') for k in ('flair', 't1', 't1ce', 't2', 'seg'))}"
            for c in sorted(raw_cohort.iterdir())]  # fmt: skip
    listed = tmp_path / "cases.csv"
    listed.write_text("\n".join(["case,flair,t1,t1ce,t2,segmentation", *rows]) + "\n")
    from_list = _prepare(tmp_path / "unused", tmp_path / "list", listed=listed)
    assert from_list.fingerprint == _prepare(raw_cohort, tmp_path / "folder").fingerprint
    listed.write_text("\n".join(["case,flair,t1,t1ce", *(",".join(row.split(",")[:4]) for row in rows)]) + "\n")
    with pytest.raises(
        DataError, match=r"none of the 5 cases in .*cases\.csv could be prepared; BraTS2021_00000: modal"
    ):
        _prepare(tmp_path / "unused", tmp_path / "other", listed=listed)


@pytest.mark.parametrize("is_listed", [False, True])
def test_labels_that_the_dataset_json_declares_otherwise_are_refused(tmp_path, write_raw, is_listed):
    for number in range(5):
        write_raw(tmp_path / "raw" / "Task01", f"BRATS_{number:03d}", "msd", number=number)
    declared = tmp_path / "raw" / "Task01" / "dataset.json"
    content = {"labels": {"1": "necrosis", "2": "edema"}, "modality": dict(enumerate(["FLAIR", "T1w", "t1gd", "T2w"]))}
    names = [f"BRATS_{number:03d}.nii.gz" for number in range(5)]
    content["training"] = [{"image": f"./imagesTr/{name}", "label": f"./labelsTr/{name}"} for name in names]
    declared.write_text(json.dumps(content))
    settings = {"layout": LAYOUTS["msd"], "labels": LabelScheme.named_before("msd"), "known": [BRATS2021]}
    settings |= {"listed": declared} if is_listed else {}
    with pytest.raises(
        DataError, match=r"Task01/dataset\.json: .* 1 necrosis, 2 edema, which contradicts labels=msd; set"
    ):
        _prepare(tmp_path / "raw", tmp_path / "p", **settings)
    assert _prepare(tmp_path / "raw", tmp_path / "p", trust_convention=True, **settings).cases == 5


def test_the_value_of_a_background_that_was_shifted_is_recorded(tmp_path, raw_cohort, spoil):
    spoil(raw_cohort, "BraTS2021_00001", "t1", lambda a: np.where(a == 0, -7, a).astype(np.int16))
    assert "background: -7 to 0, mapped to 0" in _prepare(raw_cohort, tmp_path / "p").about
    recorded = json.loads((tmp_path / "p/cases/BraTS2021_00001/case.json").read_text())["backgrounds"]
    assert recorded == [0, -7, 0, 0]
