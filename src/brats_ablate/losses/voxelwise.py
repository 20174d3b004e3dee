"""Voxel-wise terms of the region loss: one number per voxel from its logit and its truth, averaged."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


class BinaryCrossEntropy:
    """Mean binary cross-entropy of the sigmoid of `logits` (paper section 2.4)."""

    name = "bce"

    def __call__(self, logits: Tensor, truth: Tensor) -> Tensor:
        """(B, X, Y, Z) float32 logits and truth in {0, 1} -> scalar."""
        return F.binary_cross_entropy_with_logits(logits, truth)


class Focal:
    """Mean focal loss (1 - p_true)^gamma · BCE, without a class weight alpha.

    Lin et al., *Focal Loss for Dense Object Detection*, ICCV 2017; paper section 2.4 takes gamma = 2.

    Args:
        gamma: exponent that turns well-classified voxels down; 0 gives the cross-entropy.
    """

    name = "focal"

    def __init__(self, gamma: float) -> None:
        if gamma < 0:
            raise ValueError(f"gamma must not be negative, got {gamma}")
        self.gamma = gamma

    def __call__(self, logits: Tensor, truth: Tensor) -> Tensor:
        """(B, X, Y, Z) float32 logits and truth in {0, 1} -> scalar."""
        cross_entropy = F.binary_cross_entropy_with_logits(logits, truth, reduction="none")
        # 1 - p_true is the sigmoid of the logit turned away from the truth: no cancellation.
        wrong = torch.sigmoid(logits * (1 - 2 * truth))
        return (wrong**self.gamma * cross_entropy).mean()
