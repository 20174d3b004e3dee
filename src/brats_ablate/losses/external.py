"""Losses that are `torch.nn.Module`s, as torch's and MONAI's, in the place of the region loss."""

from __future__ import annotations

from torch import Tensor, nn

from brats_ablate.labels.scheme import LabelScheme
from brats_ablate.losses.region_loss import LossDict


class ModuleLoss:
    """Calls a loss of (logits, targets), both (B, R, X, Y, Z) float32, that returns a scalar."""

    def __init__(self, loss: nn.Module, labels: LabelScheme) -> None:
        self.loss = loss
        self.labels = labels

    def __call__(self, logits: Tensor, labels: Tensor) -> LossDict:
        """Compute the loss of logits (B, R, X, Y, Z) and label maps (B, X, Y, Z); its class's name is the term's."""
        value: Tensor = self.loss.to(logits.device)(logits.float(), self.labels.to_regions(labels).float())
        return {type(self.loss).__name__: value}
