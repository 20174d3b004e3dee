"""Region probabilities to labels: the threshold cascade, and the rounding that makes it repeatable."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from brats_ablate.labels import BACKGROUND, ED, ET, NCR, labels_from_probabilities

if TYPE_CHECKING:
    import torch


class RegionThresholds:
    """The paper's cascade (section 2.5): WT < t_WT → 0; else TC < t_TC → ED; else ET < t_ET → NCR; else ET.

    Args:
        wt: threshold of the whole tumor's probability; the paper's is .45.
        tc: of the tumor core's; .4.
        et: of the enhancing tumor's; .45.

    Raises:
        ValueError: a threshold outside (0, 1]. At 0 everything outside the brain would become tumor.
    """

    def __init__(self, wt: float, tc: float, et: float) -> None:
        for name, value in (("wt", wt), ("tc", tc), ("et", et)):
            if not 0 < value <= 1:
                raise ValueError(f"{name}={value} must lie in (0, 1]")
        self.thresholds = (wt, tc, et)

    def __call__(self, probabilities: np.ndarray) -> np.ndarray:
        """Return (X, Y, Z) uint8 nested labels of (3, X, Y, Z) probabilities."""
        return labels_from_probabilities(probabilities, self.thresholds)


class ThresholdsAsReleased:
    """The rule of the paper's released notebook: WT ≤ .5 → 0; else ET > .5 → ET; else TC ≤ .5 → ED; else NCR.

    Unlike in the paper's cascade, ET may lie outside TC.
    """

    def __call__(self, probabilities: np.ndarray) -> np.ndarray:
        """Return (X, Y, Z) uint8 nested labels of (3, X, Y, Z) probabilities."""
        wt, tc, et = (p > 0.5 for p in probabilities)
        return np.select([~wt, et, ~tc], [np.uint8(BACKGROUND), np.uint8(ET), np.uint8(ED)], np.uint8(NCR))


def to_float16(probabilities: torch.Tensor) -> np.ndarray:
    """Round region probabilities as they are saved: (1, 3, X, Y, Z) -> (3, X, Y, Z) float16, C-contiguous.

    Labels are always computed from these, so predicting, relabeling saved probabilities and the threshold search agree
    in every voxel.
    """
    return np.ascontiguousarray(probabilities[0].half().cpu().numpy())
