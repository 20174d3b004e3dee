"""`job=calibration` from saved probabilities to its file."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from schemes import BRATS2021, GLI2024, REGIONS
from sklearn.metrics import brier_score_loss

from brats_ablate.cases import CROSS_VALIDATED
from brats_ablate.data.nifti import read_volume, write_labels, write_volume
from brats_ablate.data.store import CaseStore
from brats_ablate.errors import ConfigError, DataError
from brats_ablate.inference.prediction_store import PredictionFolder

Job = Callable[..., None]


@pytest.fixture
def predicted(work: Path) -> PredictionFolder:
    """Saved cross-validated probabilities: .75 in every region, .25 elsewhere; all 0 in the first case."""
    store = CaseStore(work / "phantom" / "prepared")
    folder = PredictionFolder(work / "phantom" / "predictions" / "flat")
    provenance = {"cases": CROSS_VALIDATED, "data_fingerprint": store.fingerprint}
    folder.write_or_verify_manifest({"probabilities": provenance, "labels": {}})
    for i, case_id in enumerate(store.case_ids):
        masks = BRATS2021.to_regions_np(store.read_labels(case_id))
        probabilities = np.where(masks, 0.75, 0.25) if i else np.zeros(masks.shape)
        folder.save_probabilities(store.record(case_id), probabilities.astype(np.float16))
    return folder


def test_the_file_has_the_values_of_all_voxels_of_the_brain(job: Job, predicted: PredictionFolder, work: Path) -> None:
    job("job=calibration", "job.predictions=flat", "job.bins=4", "job.workers=1")
    written = json.loads((work / "phantom" / "evaluation" / "calibration" / "flat.json").read_text())
    assert (written["cases"], written["bins"], written["margin_mm"]) == (6, 4, 10)
    store = CaseStore(work / "phantom" / "prepared")
    brains = {c: (store.read_images(c) != 0).any(axis=0) for c in store.case_ids}
    for channel, region in enumerate(REGIONS):
        pooled: list[tuple[np.ndarray, np.ndarray]] = []
        for case_id, brain in brains.items():
            truth = BRATS2021.to_regions_np(store.read_labels(case_id))[channel][brain]
            pooled.append((predicted.read_probabilities(case_id)[0][channel][brain].astype(float), truth))
        values = written["voxels"]["brain"][region]
        p, t = (np.concatenate(parts) for parts in zip(*pooled, strict=True))
        assert values["brier"] == pytest.approx(brier_score_loss(t, p), rel=1e-12)
        assert values["voxels"] == sum(values["counts"]) == p.size
        assert values["counts"][1] == values["counts"][3] == 0
        assert values["confidence"][1] is values["frequency"][3] is None
        briers = [brier_score_loss(t, p) for p, t in pooled]
        assert values["mean_case_brier"] == pytest.approx(np.mean(briers), rel=1e-12)
        of_cases = [written["by_case"][c]["brain"][region] for c in store.case_ids]
        assert [case["brier"] for case in of_cases] == pytest.approx(briers, rel=1e-12)
        assert [case["ece"] for case in of_cases[1:]] == pytest.approx([0.25] * 5)
        assert values["mean_case_ece"] == pytest.approx(np.mean([case["ece"] for case in of_cases]), rel=1e-12)
        near = written["voxels"]["near_tumor"][region]
        assert 0 < near["voxels"] < values["voxels"]
    assert not list((work / "phantom" / "evaluation").glob("*.csv"))  # job=tables takes these for evaluations


@pytest.mark.slow
def test_two_processes_write_what_one_writes(job: Job, predicted: PredictionFolder, work: Path) -> None:
    file = work / "phantom" / "evaluation" / "calibration" / "flat.json"
    written = []
    for workers in (1, 2):
        job("job=calibration", "job.predictions=flat", f"job.workers={workers}")
        written.append(file.read_text())
    assert written[0] == written[1]


@pytest.mark.slow
def test_a_test_set_of_raw_cases(job: Job, predicted: PredictionFolder, work: Path, tmp_path: Path) -> None:
    """The same files give the same values; labels outside the images' box and cases without labels change nothing."""
    store, new = CaseStore(work / "phantom" / "prepared"), tmp_path / "new"
    scored, unlabeled = store.case_ids[1:3]
    for case_id in (scored, unlabeled):
        shutil.copytree(work / "phantom" / "raw" / case_id, new / case_id)
    (new / unlabeled / f"{unlabeled}_seg.nii.gz").unlink()
    job("job=calibration", "job.predictions=flat", "job.workers=1")
    file = work / "phantom" / "evaluation" / "calibration" / "flat.json"
    expected = json.loads(file.read_text())["by_case"][scored]
    arguments = ("job=calibration", "job.predictions=flat", f"job.source={new}", "job.workers=2")
    job(*arguments)
    assert json.loads(file.read_text())["by_case"] == {scored: expected}

    segmentation = new / scored / f"{scored}_seg.nii.gz"
    values, affine = read_volume(segmentation)
    values = np.array(values)
    values[0, 0, 0] = 2  # outside the brain
    write_labels(segmentation, values, affine)
    job(*arguments)
    assert json.loads(file.read_text())["by_case"] == {scored: expected}

    (predicted.path / "probabilities" / f"{unlabeled}.b2nd").unlink()
    file.unlink()
    with pytest.raises(DataError, match=rf"1 cases of .*new are not scored \({unlabeled}: it has no saved prob.*\)"):
        job(*arguments)
    assert json.loads(file.read_text())["by_case"] == {scored: expected}
    file.unlink()
    segmentation.unlink()
    with pytest.raises(DataError, match=rf"no case of .*new has both .*; {unlabeled}: it has no saved probabilities"):
        job(*arguments)
    assert not file.exists()


def test_probabilities_of_other_regions_are_refused(job: Job, work: Path) -> None:
    folder = PredictionFolder(work / "phantom" / "predictions" / "gli")
    folder.write_or_verify_manifest({"probabilities": {}, "labels": {"convention": GLI2024.key}})
    with pytest.raises(ConfigError, match=r"gli was predicted with labels=brats2024_gli, .*; set labels=brats2024_gli"):
        job("job=calibration", "job.predictions=gli", f"job.source={work / 'phantom' / 'raw'}")


def test_probabilities_of_other_images_are_refused(
    job: Job, predicted: PredictionFolder, work: Path, tmp_path: Path
) -> None:
    case_id = CaseStore(work / "phantom" / "prepared").case_ids[0]
    shutil.copytree(work / "phantom" / "raw" / case_id, tmp_path / "new" / case_id)
    for file in (tmp_path / "new" / case_id).iterdir():
        values, affine = read_volume(file)
        write_volume(file, np.ascontiguousarray(values[:, :, :-1]), affine)
    with pytest.raises(DataError, match=f"flat has {case_id} with other images than those of job.source"):
        job("job=calibration", "job.predictions=flat", f"job.source={tmp_path / 'new'}", "job.workers=1")


@pytest.mark.parametrize(
    ("override", "error", "sentence"),
    [
        ("job.bins=0", ConfigError, r"job\.bins=0 must be at least 1"),
        ("job.margin_mm=-1", ConfigError, r"job\.margin_mm=-1 must be a distance"),
        ("job.predictions=nothing", DataError, r"nothing contains no cross-validated .* job\.probabilities=true"),
    ],
)
def test_invalid_keys_are_reported(job: Job, work: Path, override: str, error: type, sentence: str) -> None:
    with pytest.raises(error, match=sentence):
        job("job=calibration", override)
