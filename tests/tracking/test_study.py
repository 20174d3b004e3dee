"""A sweep of two variants and two folds with both trackers, read back from what they wrote: it can be compared."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tracked import history, of_type, read_events, records, starts

from brats_ablate.runs.directory import RunDirectory, find_runs


@pytest.mark.slow
def test_an_offline_study_can_be_compared(brats_ablate: Callable[..., Any], work: Path) -> None:
    line = ("+experiment=baseline,ds", "fold=0,1", "tracker=both", "tracker.wandb.every_steps=1", "-m")
    done = brats_ablate(*line, "tracker.wandb.checkpoints=true", WANDB_MODE="offline")
    assert done.returncode == 0, done.stdout
    runs = find_runs(work / "phantom" / "runs")
    assert len(runs) == 4
    assert done.stdout.count("wandb sync") == done.stdout.count("tensorboard --logdir") == 1
    last_dice: dict[str, list[float]] = {}
    for run in runs:
        last_dice.setdefault(run.coordinates.name, []).append(_checked(run))
    assert {name: len(values) for name, values in last_dice.items()} == {"baseline": 2, "ds": 2}
    assert all(np.std(values) > 0 for values in last_dice.values())  # of a group in a panel


def _checked(run: RunDirectory) -> float:
    """Check what was logged of a run against what it recorded, and return the Dice of the last epoch."""
    (file,) = starts(run.path)
    content, rows, where, manifest = records(file), history(file), run.coordinates, run.manifest()
    (started,) = of_type(content, "run")
    assert (started["run_group"], started["job_type"]) == (where.name, "train")
    assert started["display_name"] == f"{where.name} f{where.fold} lr0.01 s0"
    config = started["config"]["update"]
    recorded = ("parameters", "code_version", "data_fingerprint", "training_cases", "experiment", "fold", "lr", "seed")
    assert {key: config[key] for key in recorded} == {key: manifest[key] for key in recorded}
    assert config["labels"]["regions"].keys() == {"WT", "TC", "ET"}

    epochs = {row["epoch"]: row for row in rows if "epoch" in row}
    steps = {row["step"]: row for row in rows if "step/loss" in row}
    metrics = {row["epoch"]: row for row in run.metrics()}
    assert [*steps] == list(range(1, metrics[2]["step"] + 1))
    for epoch, row in metrics.items():
        assert {key: epochs[epoch][key] for key in row} == pytest.approx(row)
        assert {"dice/WT", "dice/TC", "dice/ET"} <= row.keys()
        of_epoch = [steps[step]["step/loss"] for step in range(row["step"] - len(steps) // 2 + 1, row["step"] + 1)]
        assert np.mean(of_epoch) == pytest.approx(row["loss"])

    best = max(metrics.values(), key=lambda row: row["dice"])
    for masks in epochs[best["epoch"]]["masks.all_masks"]:
        for kind in ("predicted", "reference"):
            labels = np.asarray(Image.open(file.parent / "files" / masks[kind]["path"]))
            assert labels.max() <= 3
    classes: dict[str, Any] = {}
    for update in of_type(content, "config"):
        classes |= update["update"]["_wandb"].get("mask/class_labels", {})
    tissues = dict(enumerate(["background", *run.config()["labels"]["tissues"]]))
    assert classes
    assert all({int(k): v for k, v in each["value"].items()} == tissues for each in classes.values())
    (artifact,) = of_type(content, "artifact")
    logged = {Path(entry["local_path"]) for entry in artifact["manifest"]["contents"]}
    assert logged == set(run.best_checkpoints())

    curves = read_events(run.path / "tensorboard")
    assert curves["dice"] == pytest.approx({row["step"]: row["dice"] for row in metrics.values()})
    return float(metrics[2]["dice"])
