"""Image of one validation case for the tracker: always the same case and slice.

The image is rendered lazily, so a tracker that logs no images costs nothing.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from brats_ablate.report.case_image import draw_slice, largest_tumor_slice
from brats_ablate.training.trainer import Tracker

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

    from brats_ablate.data.store import CaseStore


class ValidationImageLogger:
    """Logs an image of `case_id` with `tracker` whenever validation has predicted that case."""

    def __init__(self, store: CaseStore, case_id: str, tracker: Tracker) -> None:
        self.store, self.case_id, self.tracker = store, case_id, tracker

    def __call__(self, case_id: str, predicted: Tensor) -> None:
        """Log the image if this is the case; `predicted` are its region masks, (R, X, Y, Z) bool."""
        if case_id == self.case_id:
            self.tracker.log_image(lambda: self.draw(predicted))

    def draw(self, predicted: Tensor) -> Image:
        """Draw image, prediction and reference on the slice with the largest reference tumor area."""
        z, name, image, reference = self._slice
        scheme = self.store.labels
        masks = predicted[..., z].cpu().numpy().astype(np.float16)
        labels = scheme.labels_from_probabilities(masks, [0.5] * len(masks))
        return draw_slice(name, image, labels, reference, self.case_id, scheme.tissue_names[1:])

    @cached_property
    def _slice(self) -> tuple[int, str, np.ndarray, np.ndarray]:
        """Index, name of the modality, its image and reference labels of the slice; read once, for the first image."""
        labels = self.store.read_labels(self.case_id)
        z = largest_tumor_slice(labels)
        name, image = self.store.read_shown(self.case_id)
        return z, name, image[:, :, z].copy(), labels[:, :, z].copy()
