"""Image of one validation case for the tracker: always the same case and slice.

The image is rendered lazily, so a tracker that logs no images costs nothing.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from brats_ablate.report.case_image import draw_case, gray
from brats_ablate.report.planes import AXIAL, CaseSlice, largest_tumor_slice
from brats_ablate.tracking.base import Tracker, ValidationImage

if TYPE_CHECKING:
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

    def draw(self, predicted: Tensor) -> ValidationImage:
        """Draw contours, prediction, reference and errors on the axial slice with the largest reference tumor area."""
        z, images, reference, pixel_mm = self._slice
        scheme = self.store.labels
        masks = predicted[..., z : z + 1].cpu().numpy().astype(np.float16)
        labels = scheme.labels_from_probabilities(masks, [0.5] * len(masks))
        shown = CaseSlice(AXIAL, images, AXIAL.upright(labels, 0), reference, pixel_mm)
        drawn = draw_case([shown], self.case_id, scheme.tissue_names[1:])
        return ValidationImage(drawn, images, shown.predicted, reference, scheme.tissue_names)

    @cached_property
    def _slice(self) -> tuple[int, dict[str, np.ndarray], np.ndarray, tuple[float, float]]:
        """Index, images, reference labels and pixel size in mm of the slice; read once, for the first image."""
        from brats_ablate.data.store import stored_spacing_mm

        labels = self.store.read_labels(self.case_id)
        z = largest_tumor_slice(labels)
        shown = self.store.read_shown(self.case_id)
        images = {name: AXIAL.upright(gray(image), z).copy() for name, image in shown.items()}
        pixel_mm = AXIAL.pixel_mm(stored_spacing_mm(self.store.record(self.case_id)))
        return z, images, AXIAL.upright(labels, z).copy(), pixel_mm
