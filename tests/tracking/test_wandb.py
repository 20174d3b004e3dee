"""What is logged to Weights & Biases, read back from the offline files with its own program."""

from __future__ import annotations

import hashlib
import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pandas as pd
import pytest
import wandb
from PIL import Image
from tracked import drawn, history, of_type, read_events, records, starts, without_images

from brats_ablate.runs.directory import find_runs
from brats_ablate.tracking.base import NullTracker, RunInfo
from brats_ablate.tracking.wandb import WandbTracker, resolve_mode

HOST = urlsplit(wandb.Settings().base_url).hostname


@pytest.fixture(autouse=True)
def own_service(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """wandb's background service ends with the test; child processes would join it by this variable."""
    monkeypatch.delenv("WANDB_SERVICE", raising=False)
    yield
    if "wandb" in sys.modules:
        sys.modules["wandb"].teardown()
        os.environ.pop("WANDB_SERVICE", None)


def run_info(folder: Path) -> RunInfo:
    return RunInfo(
        "ds f1",
        "ds",
        "train",
        folder,
        {"trainer": {"epochs": 2}},
        ("phantom", "vs baseline"),
        "Does deep supervision help?",
    )


def test_the_null_tracker_writes_nothing(tmp_path: Path) -> None:
    tracker = NullTracker(run_info(tmp_path))
    tracker.resume(3, [{"epoch": 1}])
    tracker.log_step(4, {"loss": 1.0})
    tracker.log_image(lambda: pytest.fail("an image was drawn"))
    tracker.log({"epoch": 1, "dice": 0.5})
    tracker.log_checkpoints([tmp_path / "best.pt"])
    tracker.log_tables({"demo": pd.DataFrame({"DS": [0.9]})})
    tracker.finish()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_one_run_grouped_by_experiment_with_the_epoch_as_its_axis(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WANDB_MODE", raising=False)
    tracker = WandbTracker(run_info(tmp_path), project="ablation", entity=None, mode="offline")
    rows = [{"epoch": e, "step": 4 * e, "loss": 1 / e, "dice": 0.5, "dice/WT": 0.7, "dice/ET": 0.1} for e in (1, 2)]
    for row in rows:
        tracker.log(row)
    tracker.finish()

    (file,) = starts(tmp_path)
    content = records(file)
    (run,) = of_type(content, "run")
    assert (run["project"], run["run_group"], run["job_type"]) == ("ablation", "ds", "train")
    assert run["run_id"] == run_info(tmp_path).tracking_id()
    assert run["display_name"] == "ds f1"
    assert run["notes"] == "Does deep supervision help?"
    assert sorted(run["tags"]) == ["phantom", "vs baseline"]
    config = {k: v for k, v in run["config"]["update"].items() if k != "_wandb"}
    assert config == {"trainer": {"epochs": 2}}
    axes = {m.get("name") or m.get("glob_name"): m.get("step_metric") for m in of_type(content, "metric")}
    assert axes == {"epoch": None, "*": "epoch", "dice": "epoch"}
    shown = [{k: v for k, v in h["item"].items() if not k.startswith("_")} for h in of_type(content, "history")]
    assert shown == rows
    (end,) = of_type(content, "exit")
    assert end.get("exit_code", 0) == 0


def pictures(file: Path) -> dict[int, np.ndarray]:
    """Return epoch -> its image, from the files next to an offline file."""
    paths = {row["epoch"]: row["picture.path"] for row in history(file) if "picture.path" in row}
    return {epoch: np.asarray(Image.open(file.parent / "files" / path)) for epoch, path in paths.items()}


def start(folder: Path, **options: Any) -> WandbTracker:
    return WandbTracker(run_info(folder), project="ablation", entity=None, mode="offline", **options)


@pytest.mark.slow
def test_the_image_of_each_new_best_is_logged_and_again_after_a_resume(tmp_path: Path) -> None:
    rows = [{"epoch": e, "dice": dice} for e, dice in enumerate((0.1, 0.5, 0.4, 0.6))]
    first = start(tmp_path)
    first.resume(0, [])
    for row in rows[:3]:
        first.log_image(lambda row=row: drawn(10 * row["epoch"]))
        first.log(row)
    first.log({"epoch": 7, "loss": 1.0})  # not validated
    first.finish()
    second = start(tmp_path)
    second.resume(1, rows[:1])  # it was killed before the checkpoint of the second epoch
    second.log_image(lambda: drawn(77))
    second.log(rows[1])
    second.log_image(lambda: drawn(99))
    second.log(rows[3])
    second.finish()

    before, after = starts(tmp_path)
    assert {e: int(p[0, 0, 0]) for e, p in pictures(before).items()} == {0: 0, 1: 10}
    assert {e: int(p[0, 0, 0]) for e, p in pictures(after).items()} == {0: 0, 1: 77, 3: 99}


@pytest.mark.slow
def test_each_modality_has_masks_of_prediction_and_reference_with_the_tissues_names(tmp_path: Path) -> None:
    tracker = start(tmp_path)
    tracker.log_image(lambda: drawn(5))
    tracker.log({"epoch": 1, "dice": 0.5})
    tracker.finish()

    (file,) = starts(tmp_path)
    (row,) = history(file)
    assert [text.partition(",")[0] for text in row["masks.captions"]] == ["t1ce", "flair"]
    for name, masks in zip(row["masks.filenames"], row["masks.all_masks"], strict=True):
        assert int(np.asarray(Image.open(file.parent / "files" / name)).max()) == 5
        for label, kind in enumerate(("predicted", "reference"), start=1):
            shown = np.asarray(Image.open(file.parent / "files" / masks[kind]["path"]))
            np.testing.assert_array_equal(shown, np.full((4, 5), label))
    classes: dict[str, Any] = {}
    for update in of_type(records(file), "config"):
        classes |= update["update"]["_wandb"].get("mask/class_labels", {})
    assert len(classes) == 2
    assert all(c["value"] == {"0": "background", "1": "ED", "2": "NCR"} for c in classes.values())


@pytest.mark.slow
def test_the_loss_of_every_so_many_steps_has_the_step_as_its_axis_and_survives_a_resume(tmp_path: Path) -> None:
    def train(tracker: WandbTracker, steps: range) -> None:
        for step in steps:
            tracker.log_step(step, {"loss": 1 / step, "grad_norm": math.inf})
        tracker.finish()

    first, second = start(tmp_path, every_steps=2), None
    first.resume(0, [])
    train(first, range(1, 8))
    second = start(tmp_path, every_steps=2)
    second.resume(4, [{"epoch": 1, "step": 4}])
    train(second, range(5, 10))

    _, last = starts(tmp_path)
    logged = [(row["step"], row["step/loss"]) for row in history(last) if "step/loss" in row]
    assert logged == [(step, 1 / step) for step in (1, 3, 5, 7, 9)]
    axes = {m["name"]: m.get("step_metric") for m in of_type(records(last), "metric") if "name" in m}
    assert axes["step/loss"] == axes["step/grad_norm"] == "step"
    assert axes["step"] is None


class OnlineRun:
    """What wandb.init returns online, of a run whose history and summary are on a server: it appends to both."""

    url, id = "https://wandb.example.org/run", "run"

    def __init__(self, server: list[dict[str, Any]]) -> None:
        self.server, self.resumed = server, bool(server)
        self.summary = {key: value for row in server for key, value in row.items()}

    def define_metric(self, *_: object, **__: object) -> None:
        pass

    def log(self, row: dict[str, Any]) -> None:
        self.server.append(row)
        self.summary |= row

    def finish(self) -> None:
        pass


def test_online_only_what_the_server_lacks_is_logged_after_a_resume(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server: list[dict[str, Any]] = []
    monkeypatch.setattr(wandb, "init", lambda **_: OnlineRun(server))
    rows = [{"epoch": e, "step": 2 * e, "dice": dice} for e, dice in enumerate((0.1, 0.5, 0.4, 0.3, 0.6), start=1)]

    def train(done: int, end: int) -> None:
        tracker = WandbTracker(run_info(tmp_path), project="ablation", entity=None, mode="online", every_steps=1)
        tracker.resume(int(rows[done - 1]["step"]) if done else 0, rows[:done])
        for row in rows[done:end]:
            for step in range(int(row["step"]) - 1, int(row["step"]) + 1):
                tracker.log_step(step, {"loss": 1.0})
            tracker.log_image(lambda: drawn(1))
            tracker.log(row)
        tracker.finish()

    train(0, 3)
    del server[-1]  # was not uploaded before the process was killed
    train(3, 5)
    assert [row["epoch"] for row in server if "epoch" in row] == [1, 2, 3, 4, 5]
    assert [row["step"] for row in server if "epoch" not in row] == list(range(1, 11))
    assert [row["epoch"] for row in server if "picture" in row] == [1, 2, 5]


def test_a_disabled_w_and_b_takes_everything(tmp_path: Path) -> None:
    tracker = WandbTracker(run_info(tmp_path), project="ablation", entity=None, mode="disabled", checkpoints=True)
    tracker.resume(0, [])
    tracker.log_step(1, {"loss": 1.0})
    tracker.log_image(lambda: drawn(1))
    tracker.log({"epoch": 1, "dice": 0.5})
    tracker.log_checkpoints([Path(__file__)])
    tracker.finish()
    assert starts(tmp_path) == []


@pytest.mark.slow
@pytest.mark.parametrize("checkpoints", [True, False])
def test_checkpoints_are_an_artifact_on_request(checkpoints: bool, tmp_path: Path) -> None:
    files = [tmp_path / f"best_{i}.pt" for i in range(2)]
    for file in files:
        file.write_bytes(b"weights")
    tracker = start(tmp_path / "run", checkpoints=checkpoints)
    tracker.log_checkpoints(files)
    tracker.finish()
    logged = of_type(records(starts(tmp_path / "run")[0]), "artifact")
    assert len(logged) == checkpoints
    for artifact in logged:
        assert artifact["type"] == "model"
        assert {entry["local_path"] for entry in artifact["manifest"]["contents"]} == {str(file) for file in files}


@pytest.mark.slow
def test_a_score_that_is_not_finite_is_no_new_best(tmp_path: Path) -> None:
    tracker = WandbTracker(run_info(tmp_path), project="ablation", entity=None, mode="offline")
    for epoch, dice in enumerate((None, math.nan, 0.25), start=1):
        tracker.log_image(lambda: drawn(0))
        tracker.log({"epoch": epoch, "dice": dice, "grad_norm": None})
    tracker.finish()
    assert [file.name for file in (tmp_path / "wandb" / "pictures").glob("*.png")] == ["epoch=0003.png"]


@pytest.mark.slow
def test_tables_are_logged_as_tables_of_one_run(tmp_path: Path) -> None:
    run = RunInfo("tables", "phantom", "tables", tmp_path / "tables", {})
    table = pd.DataFrame({"": ["Fold 0", "Mean"], "DS": [0.9, None], "DS paper": [0.8, 0.8]}, dtype=object)
    tracker = WandbTracker(run, project="ablation", entity=None, mode="offline")
    tracker.log_tables({"demo": table})
    tracker.finish()

    (file,) = starts(run.folder)
    content = records(file)
    (started,) = of_type(content, "run")
    assert (started["display_name"], started["run_group"], started["job_type"]) == ("tables", "phantom", "tables")
    assert of_type(content, "metric") == []  # no curves, no axis
    (logged,) = of_type(content, "history")
    path = logged["item"].get("demo.path") or logged["item"]["demo"]["path"]
    content = json.loads((file.parent / "files" / path).read_text())
    assert content["columns"] == ["row", "DS", "DS paper"]
    assert content["data"] == [["Fold 0", 0.9, 0.8], ["Mean", None, 0.8]]


def test_a_run_keeps_its_id_when_it_is_moved(tmp_path: Path) -> None:
    drawn = run_info(tmp_path / "a").tracking_id()
    (tmp_path / "a").rename(tmp_path / "b")
    assert run_info(tmp_path / "b").tracking_id() == drawn
    assert run_info(tmp_path / "a").tracking_id() != drawn, "a run that replaces a deleted one"


def test_a_run_that_version_0_1_tracked_keeps_its_id(tmp_path: Path) -> None:
    (tmp_path / "wandb").mkdir()
    before = hashlib.sha256(str(tmp_path.resolve()).encode()).hexdigest()[:16]
    assert run_info(tmp_path).tracking_id() == before
    assert (tmp_path / "tracking_id").read_text() == f"{before}\n"


@pytest.mark.parametrize(
    ("environment", "netrc", "mode"),
    [
        ({}, "", "offline"),
        ({"WANDB_API_KEY": "x" * 40}, "", "online"),
        ({}, f"machine {HOST} login user password secret", "online"),
        ({"WANDB_BASE_URL": "https://wandb.example.org"}, f"machine {HOST} login user password s", "offline"),
        ({"WANDB_MODE": "disabled", "WANDB_API_KEY": "x" * 40}, "", "disabled"),
        ({"WANDB_MODE": "offline", "WANDB_API_KEY": "x" * 40}, "", "offline"),
    ],
)
def test_online_only_where_a_login_exists(
    environment: dict[str, str], netrc: str, mode: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("WANDB_MODE", "WANDB_API_KEY", "WANDB_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("HOME", str(tmp_path))
    if netrc:
        (tmp_path / ".netrc").write_text(netrc)
        (tmp_path / ".netrc").chmod(0o600)
    assert resolve_mode("auto") == mode
    assert resolve_mode("disabled") == "disabled"
    assert resolve_mode("online") == "online"
    assert resolve_mode("offline") == "offline"


@pytest.mark.slow(minutes=2)
def test_a_run_that_is_killed_and_resumed_is_one_run_with_all_its_epochs(
    launch: Callable[..., subprocess.Popen[str]], work: Path
) -> None:
    line = ("+experiment=ds", "tracker=both", "trainer.epochs=12", "trainer.crops_per_case=10")
    line += ("tracker.wandb.every_steps=1", "tracker.tensorboard.every_steps=1")
    runs = work / "phantom" / "runs"

    def epochs() -> int:
        return max((len(run.metrics()) for run in find_runs(runs)), default=0)

    process = launch(*line, WANDB_MODE="offline")
    deadline = time.monotonic() + 600
    while epochs() < 2:
        assert process.poll() is None, process.stdout and process.stdout.read()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.kill()
    process.communicate()
    assert epochs() < 12
    process = launch(*line, WANDB_MODE="offline")
    output, _ = process.communicate(timeout=600)
    assert process.returncode == 0, output

    (run,) = find_runs(runs)
    before, after = starts(run.path)
    assert before.name == after.name  # the run's id
    content = records(after)
    (started,) = of_type(content, "run")
    assert f"run-{started['run_id']}.wandb" == after.name
    assert started["run_group"] == "ds"
    assert started["display_name"] == f"ds f0 lr{run.coordinates.lr:g} s0"
    assert sorted(started["tags"]) == ["ds", "fold 0", "phantom", "vs baseline"]
    assert {"fold": 0, "seed": 0, "experiment": "ds"}.items() <= started["config"]["update"].items()
    rows = history(after)
    shown = {row["epoch"]: without_images(row) for row in rows if "epoch" in row}
    epochs_logged = [row["epoch"] for row in rows if "epoch" in row]
    assert epochs_logged == [row["epoch"] for row in run.metrics()] == list(range(1, 13))
    for row in run.metrics():
        assert {"dice", "dice/WT", "dice/TC", "dice/ET"} <= row.keys()
        assert shown[row["epoch"]] == pytest.approx(row)
    last = run.metrics()[-1]["step"]
    losses = {row["step"]: row["step/loss"] for row in rows if "step/loss" in row}
    assert sum("step/loss" in row for row in rows) == len(losses) == last

    curves = read_events(run.path / "tensorboard")
    assert curves["step/loss"] == pytest.approx(losses)
    assert curves["dice"] == pytest.approx({row["step"]: row["dice"] for row in run.metrics()})
    best, bests = -1.0, []
    for row in run.metrics():
        if row["dice"] > best:
            best = row["dice"]
            bests.append(row["epoch"])
    assert sorted(pictures(after)) == bests


@pytest.mark.slow
@pytest.mark.parametrize("key", ["x" * 40, "short"])
def test_without_network_or_with_a_bad_key_runs_are_logged_offline(
    key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", key)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")  # nothing answers there
    monkeypatch.setattr("brats_ablate.tracking.wandb.PATIENCE_S", 3)
    tracker = WandbTracker(run_info(tmp_path), project="ablation", entity=None, mode="online")
    tracker.log({"epoch": 1, "step": 1, "loss": 0.5})
    tracker.finish()
    (file,) = starts(tmp_path)
    assert [h["item"]["epoch"] for h in of_type(records(file), "history")] == [1]
    printed = capsys.readouterr()
    assert "W&B is not available (" in printed.err
    assert f"wandb sync {file.parent}" in printed.out
