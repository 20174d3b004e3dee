"""Probabilities to labels: thresholds, then post-processing, with one setting for all cases or one for each fold."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from brats_ablate.inference.postprocess import PostprocessStep
from brats_ablate.labels.scheme import LabelScheme


@dataclass(frozen=True)
class LabelSetting:
    """One choice of thresholds and post-processing."""

    thresholds: Callable[[np.ndarray, LabelScheme], np.ndarray]
    postprocess: PostprocessStep
    labels: LabelScheme

    def __call__(self, probabilities: np.ndarray) -> np.ndarray:
        """Return the (X, Y, Z) uint8 label map of (R, X, Y, Z) float16 probabilities."""
        return self.postprocess(self.thresholds(probabilities, self.labels), probabilities, self.labels)


@dataclass(frozen=True)
class LabelPipeline:
    """The settings of a prediction. Out-of-fold settings keep cross-validated predictions unbiased."""

    default: LabelSetting
    """For all cases, or for those of no fold where `folds` is given."""
    provenance: dict[str, Any]
    """Recorded in the manifest of the predictions."""
    folds: Mapping[int, LabelSetting] = field(default_factory=dict)

    def __call__(self, probabilities: np.ndarray, fold: int | None) -> np.ndarray:
        """Return the (X, Y, Z) uint8 label map of (R, X, Y, Z) float16; `fold` is None for a case of no fold."""
        setting = self.default if fold is None or not self.folds else self.folds[fold]
        return setting(probabilities)
