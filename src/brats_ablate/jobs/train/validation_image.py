"""The validation case whose picture a tracker may show while the network trains: always the same, on the same slice.

validation ─here→ tracker. A tracker that shows nothing costs nothing: it never asks for the picture.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from brats_ablate.labels import MODALITIES
from brats_ablate.report.case_image import draw_slice, largest_tumor_slice
from brats_ablate.training.trainer import Tracker

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

    from brats_ablate.data.store import CaseStore


class ValidationImageLogger:
    """Offers `tracker` the picture of `case_id` whenever validation has predicted that case."""

    def __init__(self, store: CaseStore, case_id: str, tracker: Tracker) -> None:
        self.store, self.case_id, self.tracker = store, case_id, tracker

    def __call__(self, case_id: str, predicted: Tensor) -> None:
        """Called for every validated case; `predicted` are its region masks, (3, X, Y, Z) bool."""
        if case_id == self.case_id:
            self.tracker.log_image(lambda: self.draw(predicted))

    def draw(self, predicted: Tensor) -> Image:
        """FLAIR, prediction and reference on the slice with the largest reference tumour area."""
        z, flair, reference = self._slice
        wt, tc, et = predicted[..., z].cpu().numpy()
        depth = wt + (wt & tc).astype(np.uint8) + (wt & tc & et)
        return draw_slice(flair, depth, reference, self.case_id)

    @cached_property
    def _slice(self) -> tuple[int, np.ndarray, np.ndarray]:
        """Index, FLAIR and reference depths of the slice; read once, when the first picture is asked for."""
        labels = self.store.read_labels(self.case_id)
        z = largest_tumor_slice(labels)
        flair = self.store.read_images(self.case_id)[MODALITIES.index("flair")]
        return z, flair[:, :, z].copy(), labels[:, :, z].copy()
