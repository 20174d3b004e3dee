from __future__ import annotations

import csv
import json
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml
from scaffolding import CommandLine
from schemes import BRATS2021
from scipy.ndimage import gaussian_filter

from brats_ablate.cases import CROSS_VALIDATED
from brats_ablate.data.store import CaseStore
from brats_ablate.errors import ConfigError, DataError
from brats_ablate.inference.prediction_store import PredictionFolder

Job = Callable[..., None]
Command = Callable[..., subprocess.CompletedProcess[str]]
SMALL_SEARCH = ("job.most_voxels=40", "job.workers=1")


@pytest.fixture
def predicted(work: Path) -> CaseStore:
    """Saved cross-validated probabilities: blurred references with noise, so that thresholds and post-processing matter."""
    store = CaseStore(work / "phantom" / "prepared")
    folder = PredictionFolder(work / "phantom" / "predictions" / "blurred")
    provenance = {"cases": CROSS_VALIDATED, "data_fingerprint": store.fingerprint}
    folder.write_or_verify_manifest({"probabilities": provenance, "labels": {}})
    generator = np.random.default_rng(0)
    for case_id in store.case_ids:
        masks = BRATS2021.to_regions_np(store.read_labels(case_id)).astype(np.float32)
        noise = gaussian_filter(generator.normal(size=masks.shape), (0, 1, 1, 1)) * 0.8
        probabilities = np.clip(gaussian_filter(masks, (0, 1, 1, 1)) + noise, 0, 1)
        folder.save_probabilities(store.record(case_id), probabilities.astype(np.float16))
    return store


@pytest.mark.slow
def test_out_of_fold_score_is_reached_by_predict_and_evaluate(job: Job, predicted: CaseStore, work: Path) -> None:
    job("job=tune", "job.predictions=blurred", *SMALL_SEARCH)
    file = work / "phantom" / "predictions" / "blurred" / "tuned.yaml"
    tuned = yaml.safe_load(file.read_text())
    job("job=predict", "job.output=tuned", "job.reuse=blurred", f"job.settings={file}")
    job("job=evaluate", "job.name=tuned", "job.workers=1")
    with (work / "phantom" / "evaluation" / "tuned.csv").open() as stream:
        rows = [row for row in csv.DictReader(stream) if row["metric"] == "dice"]
    means = [np.mean([float(row["value"]) for row in rows if row["fold"] == str(fold)]) for fold in range(3)]
    assert tuned["mean_dice"]["out_of_fold"]["rules"] == pytest.approx(np.mean(means), abs=1e-6)
    assert tuned["mean_dice"]["in_fold"]["rules"] >= tuned["mean_dice"]["out_of_fold"]["rules"]
    assert set(tuned["folds"]) == {0, 1, 2}

    def relabel(**changes: object) -> None:
        file.write_text(yaml.safe_dump(tuned | changes))
        job("job=predict", "job.output=again", "job.reuse=blurred", f"job.settings={file}")

    with pytest.raises(ConfigError, match=r"job\.settings was tuned on other prepared data, so its folds have other"):
        relabel(data_fingerprint="0123")
    with pytest.raises(
        ConfigError, match=r"job\.settings has no setting of fold 2; run job=tune on predictions of all"
    ):
        relabel(folds={fold: tuned["folds"][fold] for fold in (0, 1)})
    del tuned["data_fingerprint"]  # as earlier versions wrote it
    relabel()


def test_probabilities_of_other_data_are_neither_relabeled_nor_tuned_on(
    job: Job, predicted: CaseStore, work: Path
) -> None:
    file = work / "phantom" / "predictions" / "blurred" / "predictions.json"
    manifest = json.loads(file.read_text())
    manifest["probabilities"]["data_fingerprint"] = "0123"
    file.write_text(json.dumps(manifest))
    with pytest.raises(
        ConfigError, match=r"job\.reuse=blurred: .*blurred was not predicted from the data in .*prepared"
    ):
        job("job=predict", "job.output=again", "job.reuse=blurred")
    with pytest.raises(DataError, match=r"blurred was predicted from different data from .*prepared; predict again"):
        job("job=tune", "job.predictions=blurred")


def test_the_choice_stays_in_the_grid(job: Job, predicted: CaseStore, work: Path) -> None:
    narrow = "job.thresholds={wt:[0.4],tc:[0.45],et:[0.35]}"
    job("job=tune", "job.predictions=blurred", narrow, "job.probabilities=[0.9]", *SMALL_SEARCH)
    tuned = yaml.safe_load((work / "phantom" / "predictions" / "blurred" / "tuned.yaml").read_text())
    for node in (tuned["all"], *tuned["folds"].values()):
        assert [node["labels"][k] for k in ("wt", "tc", "et")] == [0.4, 0.45, 0.35]
        assert node["postprocess"]["few_voxels"]["below_probability"] == 0.9


@pytest.mark.slow
def test_the_printed_command_applies_the_settings(brats_ablate: Command, predicted: CaseStore, work: Path) -> None:
    narrow = "job.thresholds={wt:[0.4],tc:[0.45],et:[0.35]}"
    tuned = brats_ablate("job=tune", "job.predictions=blurred", narrow, *SMALL_SEARCH)
    assert tuned.returncode == 0, tuned.stdout
    command = shlex.split(tuned.stdout.splitlines()[-1].replace("<new name>", "tuned"))
    start = command.index("brats_ablate") + 1
    assert "data=phantom" in command
    done = CommandLine(work).run(*command[start:], BRATS_ABLATE_WORK=str(work))
    assert done.returncode == 0, done.stdout
    assert len(list((work / "phantom" / "predictions" / "tuned").glob("*.nii.gz"))) == len(predicted.case_ids)


def test_rejects_predictions_without_cross_validation_or_probabilities(
    job: Job, predicted: CaseStore, work: Path
) -> None:
    with pytest.raises(DataError, match="no cross-validated predictions"):
        job("job=tune", "job.predictions=nothing")
    (work / "phantom" / "predictions" / "blurred" / "probabilities" / f"{predicted.case_ids[2]}.b2nd").unlink()
    with pytest.raises(DataError, match=f"1 of 6 cases .*{predicted.case_ids[2]}"):
        job("job=tune", "job.predictions=blurred")


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("job.most_voxels=0", r"job\.most_voxels=0"),
        ("job.thresholds.tc=[0.5,0.4]", r"job\.thresholds\.tc"),
        ("+job.thresholds.core=[0.5]", r"job\.thresholds\.core is no region of labels=brats2021; choose wt, tc, et"),
        (
            "job.thresholds.wt=0.5",
            r"^job\.thresholds\.wt=0\.5 is no list of numbers; write job\.thresholds\.wt=\[0\.5\]$",
        ),
        ("job.thresholds.wt=[a]", r"^job\.thresholds\.wt=\['a'\] is no list of numbers"),
        ("job.thresholds.et=null", r"job\.thresholds\.et is missing; give the candidates of ET"),
    ],
)
def test_invalid_grids_are_reported(job: Job, work: Path, override: str, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        job("job=tune", override)
