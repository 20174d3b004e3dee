"""Voxel-wise terms of the region loss: the mean over voxels of a function of logit and target."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


class BinaryCrossEntropy:
    """Mean binary cross-entropy of the sigmoid of `logits` (paper section 2.4)."""

    name = "bce"

    def __call__(self, logits: Tensor, target: Tensor) -> Tensor:
        """Compute the mean over (B, X, Y, Z) float32 logits and targets in {0, 1}."""
        return F.binary_cross_entropy_with_logits(logits, target)


class Focal:
    """Mean focal loss (1 - p_true)^gamma · BCE, without a class weight alpha.

    Lin et al., *Focal Loss for Dense Object Detection*, ICCV 2017; paper section 2.4 takes gamma = 2.

    Args:
        gamma: exponent that reduces the weight of well-classified voxels; 0 gives the cross-entropy.

    Raises:
        ValueError: `gamma` is negative.
    """

    name = "focal"

    def __init__(self, gamma: float) -> None:
        if gamma < 0:
            raise ValueError(f"gamma must not be negative, got {gamma}")
        self.gamma = gamma

    def __call__(self, logits: Tensor, target: Tensor) -> Tensor:
        """Compute the mean over (B, X, Y, Z) float32 logits and targets in {0, 1}."""
        cross_entropy = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
        # 1 - p_true is the sigmoid of the logit with its sign set against the target, which avoids cancellation.
        error = torch.sigmoid(logits * (1 - 2 * target))
        return (error**self.gamma * cross_entropy).mean()
