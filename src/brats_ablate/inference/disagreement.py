"""Disagreement of an ensemble: the standard deviation (SD) over its members of each region's probability.

The spread of an ensemble's members is the estimate of a network's uncertainty of Lakshminarayanan et al., "Simple and
Scalable Predictive Uncertainty Estimation using Deep Ensembles" (NeurIPS 2017), here for each region, as BraTS scores
uncertainty (Mehta et al., "QU-BraTS", MELBA 2022). A voxel's disagreement is the largest over the regions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor


class RunningSD:
    """Population SD of tensors that are added one by one, by Welford's algorithm.

    It sums squared deviations from the running mean, so similar members lose no digits, unlike in E[p²] − E[p]².
    """

    def __init__(self) -> None:
        self.count = 0
        self._mean: Tensor | None = None
        self._squares: Tensor | None = None

    def add(self, values: Tensor) -> None:
        """Add one member's values; all have the same shape, and none is changed."""
        import torch

        self.count += 1
        if self._mean is None or self._squares is None:
            self._mean, self._squares = values.clone(), torch.zeros_like(values)
            return
        deviation = values - self._mean
        self._mean += deviation / self.count
        self._squares += deviation * (values - self._mean)

    def result(self) -> Tensor:
        """Return the population SD, of the shape of the values, as NumPy's `std`; ValueError if nothing was added."""
        if self._squares is None:
            raise ValueError("the SD of no values does not exist")
        return (self._squares / self.count).clamp(min=0).sqrt()


def disagreement_map(sd: Tensor) -> np.ndarray:
    """Return the largest SD over the regions: (1, R, X, Y, Z) -> (X, Y, Z) float32."""
    values: np.ndarray = sd[0].amax(dim=0).float().cpu().numpy()
    return values
