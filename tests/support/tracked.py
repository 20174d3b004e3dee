"""Reads back what trackers wrote, with the programs of W&B and TensorBoard."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from brats_ablate.tracking.base import ValidationImage


def drawn(value: int) -> ValidationImage:
    """An image of one gray value, predicted as ED and in truth NCR."""
    gray = np.full((4, 5), value, dtype=np.uint8)
    picture = Image.fromarray(np.repeat(gray[..., None], 3, axis=-1))
    predicted, reference = np.full_like(gray, 1), np.full_like(gray, 2)
    return ValidationImage(picture, {"t1ce": gray, "flair": gray}, predicted, reference, ("background", "ED", "NCR"))


def starts(folder: Path) -> list[Path]:
    """Return the offline file of every start of a run, in order."""
    return sorted(folder.glob("wandb/offline-run-*/run-*.wandb"))


def records(file: Path) -> list[dict[str, Any]]:
    """Return every record of an offline file."""
    program = [str(Path(sys.executable).with_name("wandb")), "leet", "inspect", "--json", str(file)]
    printed = subprocess.run(program, capture_output=True, text=True, check=True).stdout
    return [json.loads(line) for line in printed.splitlines()]


def of_type(records: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [record[kind] for record in records if record["type"] == kind]


def history(file: Path) -> list[dict[str, Any]]:
    """Return the logged rows without what W&B adds."""
    rows = [record["item"] for record in of_type(records(file), "history")]
    return [{key: value for key, value in row.items() if not key.startswith("_")} for row in rows]


def without_images(row: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in row.items() if not key.startswith(("picture", "masks"))}


def read_events(folder: Path) -> dict[str, dict[int, float]]:
    """Return the curves that TensorBoard shows, each as step -> value; fails where a step occurs twice."""
    curves = {}
    events = accumulator(folder)
    for name in events.Tags()["scalars"]:
        points = [(event.step, event.value) for event in events.Scalars(name)]
        curves[name] = dict(points)
        assert len(curves[name]) == len(points), f"{name} has a step twice: {points}"
    return curves


def accumulator(folder: Path) -> Any:
    """Return TensorBoard's own reader of all event files of a folder."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder), size_guidance=dict.fromkeys(("scalars", "images", "tensors"), 0))
    events.Reload()
    return events
