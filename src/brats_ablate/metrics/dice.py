"""Dice with the BraTS rule for empty regions: 1 for a region empty in both masks, 0 for one empty in one of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

Count = int | np.ndarray


def dice_from_counts(both: Count, predicted: Count, reference: Count) -> np.ndarray:
    """Return Dice 2|P∩R| / (|P|+|R|) of voxel counts, which broadcast against each other; float64."""
    sizes = np.asarray(predicted + reference)
    return np.where(sizes == 0, 1.0, 2 * both / np.maximum(sizes, 1))


def dice_per_region(predicted: Tensor, reference: Tensor) -> Tensor:
    """Return the Dice of each region, (3,) float64, of (3, X, Y, Z) bool masks, computed on their device."""
    import torch

    both = torch.count_nonzero(predicted & reference, dim=(1, 2, 3))
    sizes = torch.count_nonzero(predicted, dim=(1, 2, 3)) + torch.count_nonzero(reference, dim=(1, 2, 3))
    return torch.where(sizes == 0, 1.0, 2.0 * both.double() / sizes.clamp(min=1))
