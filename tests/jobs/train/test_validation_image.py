"""The image of a validation case: its slice, its content, and that it is rendered only on demand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from schemes import BRATS2021

from brats_ablate.data.store import CaseStore
from brats_ablate.jobs.train.validation_image import ValidationImageLogger
from brats_ablate.report.case_image import CORRECT, REFERENCE, TISSUE_COLORS
from brats_ablate.tracking.base import NullTracker, RunInfo, ValidationImage


class Album:
    """A tracker that keeps the images."""

    def __init__(self) -> None:
        self.pictures: list[Image.Image] = []
        self.images: list[ValidationImage] = []

    def log(self, row: dict[str, Any]) -> None: ...

    def log_image(self, make_image: Callable[[], ValidationImage]) -> None:
        self.images.append(make_image())
        self.pictures.append(self.images[-1].drawn)


@pytest.fixture(name="store")
def _store(work: Path) -> CaseStore:
    return CaseStore(work / "phantom" / "prepared")


def panels(picture: Image.Image) -> list[np.ndarray]:
    """T1ce, FLAIR, prediction, reference and errors, without titles and legend."""
    pixels = np.asarray(picture)[24:-48]
    return [pixels[:, i * 324 : i * 324 + 320] for i in range(5)]


def test_prediction_next_to_reference_on_the_slice_with_most_tumor(store: CaseStore) -> None:
    case_id = store.case_ids[0]
    labels = store.read_labels(case_id)
    masks = BRATS2021.to_regions(torch.from_numpy(labels)[None])[0]
    album = Album()
    on_case = ValidationImageLogger(store, case_id, album)
    on_case(store.case_ids[1], torch.zeros((3, 1, 1, 1), dtype=torch.bool))
    assert album.pictures == []
    on_case(case_id, masks)
    _, _, predicted, reference, errors = panels(album.pictures[0])
    np.testing.assert_array_equal(predicted, reference)
    image = album.images[0]
    np.testing.assert_array_equal(image.predicted, image.reference)
    assert [*image.images] == ["t1ce", "flair"]
    assert image.tissues == ("background", "ED", "NCR", "ET")
    area = (labels > 0).sum(axis=(0, 1))
    assert (image.reference > 0).sum() == area.max()
    correct = (errors == CORRECT).all(axis=-1)
    assert correct.mean() == pytest.approx(area.max() / labels[..., 0].size, abs=0.02)

    on_case(case_id, torch.zeros_like(masks))
    _, _, predicted, again, errors = panels(album.pictures[1])
    assert (predicted[..., :1] == predicted).all()  # gray: no tissue
    np.testing.assert_array_equal(again, reference)
    np.testing.assert_array_equal((errors == REFERENCE).all(axis=-1), correct)  # missed: false negative


def test_et_outside_tc_is_not_drawn_as_et(store: CaseStore) -> None:
    case_id = store.case_ids[0]
    shape = store.read_labels(case_id).shape
    masks = torch.zeros((3, *shape), dtype=torch.bool)
    masks[0] = True
    masks[2] = True
    album = Album()
    ValidationImageLogger(store, case_id, album)(case_id, masks)
    colors = {tuple(int(v) for v in c) for c in np.unique(panels(album.pictures[0])[2].reshape(-1, 3), axis=0)}
    assert TISSUE_COLORS[0] in colors
    assert not {*TISSUE_COLORS[1:3]} & colors


def test_without_a_tracker_nothing_is_read(tmp_path: Path) -> None:
    tracker = NullTracker(RunInfo("a", "a", "train", tmp_path, {}))
    on_case = ValidationImageLogger(None, "case", tracker)  # type: ignore[arg-type]
    on_case("case", torch.zeros((3, 1, 1, 1), dtype=torch.bool))
