"""`job=calibration` from saved probabilities to its file."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from schemes import BRATS2021, REGIONS
from sklearn.metrics import brier_score_loss

from brats_ablate.data.store import CaseStore
from brats_ablate.errors import ConfigError, DataError
from brats_ablate.inference.prediction_store import CROSS_VALIDATED, PredictionFolder

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


def test_two_processes_write_what_one_writes(job: Job, predicted: PredictionFolder, work: Path) -> None:
    file = work / "phantom" / "evaluation" / "calibration" / "flat.json"
    written = []
    for workers in (1, 2):
        job("job=calibration", "job.predictions=flat", f"job.workers={workers}")
        written.append(file.read_text())
    assert written[0] == written[1]


@pytest.mark.parametrize(
    ("override", "error", "sentence"),
    [
        ("job.bins=0", ConfigError, r"job\.bins=0 must be at least 1"),
        ("job.margin_mm=-1", ConfigError, r"job\.margin_mm=-1 must be a distance"),
        ("job.margin_mm=inf", ConfigError, r"job\.margin_mm=inf must be a distance"),
        ("job.workers=0", ConfigError, r"job\.workers=0"),
        ("job.predictions=nothing", DataError, r"nothing contains no cross-validated .* job\.probabilities=true"),
    ],
)
def test_invalid_keys_are_reported(job: Job, work: Path, override: str, error: type, sentence: str) -> None:
    with pytest.raises(error, match=sentence):
        job("job=calibration", override)
