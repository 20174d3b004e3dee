"""Region probabilities -> labels: the threshold cascade, and the rounding that makes it repeatable.

On the flow: after the ensemble's mean, before post-processing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from brats_ablate.labels import labels_from_probabilities

if TYPE_CHECKING:
    import torch


class RegionThresholds:
    """The paper's cascade (section 2.5): WT < t_WT → 0; else TC < t_TC → ED; else ET < t_ET → NCR; else ET.

    Args:
        wt: threshold of the whole tumour's probability; the paper's is .45.
        tc: of the tumour core's; .4.
        et: of the enhancing tumour's; .45.

    Raises:
        ValueError: a threshold outside (0, 1]. At 0 everything outside the brain would become tumour.
    """

    def __init__(self, wt: float, tc: float, et: float) -> None:
        for name, value in (("wt", wt), ("tc", tc), ("et", et)):
            if not 0 < value <= 1:
                raise ValueError(f"{name}={value} must lie in (0, 1]")
        self.thresholds = (wt, tc, et)

    def __call__(self, probabilities: np.ndarray) -> np.ndarray:
        """(3, X, Y, Z) float probabilities -> (X, Y, Z) uint8 nesting depths."""
        return labels_from_probabilities(probabilities, self.thresholds)


def to_float16(probabilities: torch.Tensor) -> np.ndarray:
    """Region probabilities as they are saved: (1, 3, X, Y, Z) -> (3, X, Y, Z) float16, C-contiguous.

    Labels are always made of these, so that predicting, relabelling saved probabilities and the threshold search agree
    in every voxel.
    """
    return np.ascontiguousarray(probabilities[0].half().cpu().numpy())
