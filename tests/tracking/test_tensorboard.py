"""What is logged for TensorBoard, read back by its own reader."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from tensorboard.summary.writer import event_file_writer
from tracked import accumulator, drawn, read_events

from brats_ablate.tracking.base import RunInfo
from brats_ablate.tracking.tensorboard import FOLDER, TensorBoardTracker

STEPS = 4
"""Of an epoch."""


@pytest.fixture(autouse=True)
def _files_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two starts within a second have files in the order of this counter, as text: 10 would come before 9."""
    monkeypatch.setattr(event_file_writer, "_global_uid", event_file_writer.AtomicCounter(0))


def start(folder: Path, step: int = 0, rows: Sequence[dict[str, Any]] = (), every_steps: int = 1) -> TensorBoardTracker:
    config = {"experiment": "ds", "fold": 1, "lr": 0.01, "seed": 0, "trainer": {"epochs": 2}}
    tracker = TensorBoardTracker(RunInfo("ds f1", "ds", "train", folder, config), every_steps)
    tracker.resume(step, rows)
    return tracker


def row(epoch: int, dice: float | None = None) -> dict[str, Any]:
    return {"epoch": epoch, "step": STEPS * epoch, "loss": 1 / (epoch + 1), "dice": dice}


def train(tracker: TensorBoardTracker, first: int, last: int, marker: float = 0.0) -> None:
    """Log steps first to last, and the epochs that end there; `marker` is added to the losses of the steps."""
    for step in range(first, last + 1):
        tracker.log_step(step, {"loss": 1 / step + marker})
        if step % STEPS == 0:
            tracker.log(row(step // STEPS, 0.1 * step))


def test_steps_and_epochs_share_the_axis_of_steps(tmp_path: Path) -> None:
    tracker = start(tmp_path, every_steps=3)
    tracker.log(row(0))
    train(tracker, 1, 8)
    tracker.finish()
    curves = read_events(tmp_path / FOLDER)
    assert curves["step/loss"] == pytest.approx({1: 1.0, 4: 1 / 4, 7: 1 / 7})
    assert curves["loss"] == pytest.approx({0: 1.0, 4: 1 / 2, 8: 1 / 3})
    assert curves["dice"] == pytest.approx({4: 0.4, 8: 0.8})
    assert curves["epoch"] == {0: 0, 4: 1, 8: 2}
    events = accumulator(tmp_path / FOLDER)
    (text,) = events.Tensors("config/text_summary")
    assert b'"epochs": 2' in text.tensor_proto.string_val[0]
    assert {"_hparams_/experiment", "_hparams_/session_start_info"} <= events.summary_metadata.keys()


@pytest.mark.parametrize(
    ("reached", "resumed"),
    [
        (11, 8),  # killed in the third epoch, continued from the end of the second
        (12, 8),  # after the third epoch's line, before its checkpoint
        (11, 10),  # from a checkpoint within the epoch
        (3, 2),  # before any epoch
        (7, 0),  # before any checkpoint
    ],
)
def test_a_resumed_run_has_each_step_once(reached: int, resumed: int, tmp_path: Path) -> None:
    first = start(tmp_path)
    train(first, 1, reached, marker=100.0)
    first.finish()
    second = start(tmp_path, resumed, [row(e, 0.4 * e) for e in range(1, resumed // STEPS + 1)])
    train(second, resumed + 1, 16)
    second.finish()
    curves = read_events(tmp_path / FOLDER)
    expected = {step: 1 / step + (100.0 if step <= resumed else 0.0) for step in range(1, 17)}
    assert curves["step/loss"] == pytest.approx(expected)
    assert curves["dice"] == pytest.approx({4: 0.4, 8: 0.8, 12: 1.2, 16: 1.6})
    assert len(accumulator(tmp_path / FOLDER).Tensors("config/text_summary")) == 1


def test_a_run_that_had_another_tracker_before_gets_its_earlier_epochs(tmp_path: Path) -> None:
    first = start(tmp_path)
    train(first, 1, 4)
    first.finish()
    # Epochs 2 and 3 were trained with another tracker.
    second = start(tmp_path, 12, [row(1, 0.4), row(2, 0.8), row(3, 1.2)])
    train(second, 13, 16)
    second.finish()
    curves = read_events(tmp_path / FOLDER)
    assert curves["dice"] == pytest.approx({4: 0.4, 8: 0.8, 12: 1.2, 16: 1.6})
    assert [*curves["step/loss"]] == [*range(1, 5), *range(13, 17)]


def test_the_image_of_each_new_best_is_logged(tmp_path: Path) -> None:
    tracker = start(tmp_path)
    for epoch, dice in enumerate((0.1, None, 0.5, 0.4, 0.6)):
        tracker.log_image(lambda epoch=epoch: drawn(10 * epoch))
        tracker.log(row(epoch, dice))
    tracker.finish()
    images = accumulator(tmp_path / FOLDER).Images("picture")
    shown = {i.step: np.asarray(Image.open(io.BytesIO(i.encoded_image_string))) for i in images}
    assert {step: int(pixels[0, 0, 0]) for step, pixels in shown.items()} == {0: 0, 8: 20, 16: 40}


def test_tables_are_text_the_latest_last(tmp_path: Path) -> None:
    for dice in (0.8, 0.9):
        tracker = TensorBoardTracker(RunInfo("tables", "phantom", "tables", tmp_path, {}))
        tracker.log_tables({"demo": pd.DataFrame({"": ["Fold 0", "Mean"], "DS": [dice, None]}, dtype=object)})
        tracker.finish()
    texts = accumulator(tmp_path / FOLDER).Tensors("demo/text_summary")
    assert [text.step for text in texts] == [0, 1]
    assert texts[1].tensor_proto.string_val[0].decode() == "|  | DS |\n| --- | --- |\n| Fold 0 | 0.9 |\n| Mean |  |"
