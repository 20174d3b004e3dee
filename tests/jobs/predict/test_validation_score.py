"""The best checkpoint, predicted with `inference=validation` and evaluated, against the score that training recorded.

Table 4 compares post-processing on these predictions. Training scores each region by itself, p > .5 in float32. A label
map is nested and computed from float16. Both agree in every voxel but those that these two facts name.
"""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from omegaconf import DictConfig
from schemes import REGIONS

from brats_ablate.data.store import CaseStore
from brats_ablate.inference.prediction_store import PredictionFolder
from brats_ablate.jobs.build import build_model
from brats_ablate.jobs.train.setup import build_validation
from brats_ablate.runs.directory import RunDirectory
from brats_ablate.tracking.base import NullTracker, RunInfo
from brats_ablate.training import checkpoint
from brats_ablate.training.distributed import DistributedContext
from brats_ablate.training.precision import Precision

FinishedRun = Callable[..., RunDirectory]
Composed = Callable[..., DictConfig]
Scores = dict[tuple[str, str], float]
BEST = ("+experiment=baseline", "inference=validation", "job=predict", "job.output=best", "job.checkpoints=1")
HALF_A_STEP = 2.0**-13
"""Of float16 below .5: a probability that is closer to .5 is rounded to it."""


def nest(run: RunDirectory) -> None:
    """Change the best checkpoint so that p(WT) > p(TC) > p(ET) everywhere, and the slope at .5 is steep."""
    file = run.best_checkpoints()[0]
    content = checkpoint.load(file)
    weight, bias = content["model"]["heads.0.weight"], content["model"]["heads.0.bias"]
    weight[:] = 4 * weight[:1].clone()
    bias[:] = 4 * (bias[0].clone() - torch.tensor([0.0, 0.05, 0.1]))
    checkpoint.save(content, file)


def validated(cfg: DictConfig, run: RunDirectory, work: Path) -> tuple[Scores, dict[str, np.ndarray]]:
    """Validate the fold of `run` as training does: the scores, and float32 probabilities (3, X, Y, Z) per case."""
    model = build_model(cfg).eval()
    checkpoint.load_weights(run.best_checkpoints()[0], model)
    store = CaseStore(work / "phantom" / "prepared")
    ids = list(store.folds[run.coordinates.fold])
    tracker = NullTracker(RunInfo("r", "r", "train", run.path, {}, ()))
    validation = build_validation(
        cfg, store, ids, model, Precision.resolve("fp32", torch.device("cpu")), tracker, compiled=False
    )
    result = validation.run(DistributedContext(), lambda: False)
    with torch.inference_mode():
        probabilities = {c: validation.predict(validation.load(c)[0])[0].numpy() for c in ids}
    return {(row["case"], region): row[region] for row in result.cases for region in REGIONS}, probabilities


def evaluated(work: Path) -> Scores:
    with (work / "phantom" / "evaluation" / "best.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["metric"] == "dice"]
    return {(row["case"], row["region"]): float(row["value"]) for row in rows}


def dice(predicted: np.ndarray, reference: np.ndarray) -> float:
    size = int(predicted.sum()) + int(reference.sum())
    return 2 * int((predicted & reference).sum()) / size if size else 1.0


@pytest.mark.slow
@pytest.mark.parametrize("is_nested", [True, False])
def test_the_evaluated_best_checkpoint_scores_what_training_recorded(
    job: Callable[..., None], composed: Composed, finished_run: FinishedRun, work: Path, is_nested: bool
) -> None:
    run = finished_run("+experiment=baseline", "fold=0")
    if is_nested:
        nest(run)
    recorded, probabilities = validated(composed("+experiment=baseline", "fold=0"), run, work)
    job(*BEST, "job.probabilities=true", f"job.cases=[{','.join(probabilities)}]")
    job("job=evaluate", "job.name=best", "job.workers=1")
    scores = evaluated(work)
    assert scores.keys() == recorded.keys()
    assert sum(0 < value < 1 for value in scores.values()) >= 5  # a case has no ET

    store = CaseStore(work / "phantom" / "prepared")
    folder = PredictionFolder(work / "phantom" / "predictions" / "best")
    outside, agreeing = 0, 0
    for case_id, p in probabilities.items():
        saved, _ = folder.read_probabilities(case_id)
        np.testing.assert_array_equal(saved, p.astype(np.float16))
        in_labels = np.logical_and.accumulate(saved >= 0.5)  # TC only within WT, ET only within TC
        for i, region in enumerate(REGIONS):
            reference = store.read_labels(case_id) > i
            assert recorded[case_id, region] == dice(p[i] > 0.5, reference)
            assert scores[case_id, region] == dice(in_labels[i], reference)
            lost, gained = (p[i] > 0.5) & ~in_labels[i], (p[i] <= 0.5) & in_labels[i]
            assert not (lost & in_labels[i - 1]).any() if i else not lost.any()
            assert (p[i][gained] >= 0.5 - HALF_A_STEP).all()
            outside += int(lost.sum())
            agreeing += not (lost | gained).any()
    assert (outside == 0) == is_nested
    assert agreeing > 0 or not is_nested
