"""Dice of the three regions with the BraTS rule for empty regions; on the device, for validation and evaluation.

On the flow: predicted and reference region masks in, one number a region out.
"""

from __future__ import annotations

import torch
from torch import Tensor


def dice_per_region(predicted: Tensor, reference: Tensor) -> Tensor:
    """Dice 2|P∩R| / (|P|+|R|) per region; a region empty in both scores 1, in one of them 0 (BraTS).

    Args:
        predicted: (3, X, Y, Z) bool.
        reference: (3, X, Y, Z) bool, on the same device.

    Returns:
        (3,) float64.
    """
    both = torch.count_nonzero(predicted & reference, dim=(1, 2, 3))
    sizes = torch.count_nonzero(predicted, dim=(1, 2, 3)) + torch.count_nonzero(reference, dim=(1, 2, 3))
    return torch.where(sizes == 0, 1.0, 2.0 * both.double() / sizes.clamp(min=1))
