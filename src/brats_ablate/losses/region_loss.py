"""Region loss of one head: a voxel-wise term and a batch Dice term, or a loss of torch or MONAI in their place."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor, nn

from brats_ablate.labels.scheme import LabelScheme
from brats_ablate.losses.all_reduce import all_reduce_sum


class VoxelwiseTerm(Protocol):
    """A named mean over voxels: (B, X, Y, Z) logits and targets in {0, 1} -> scalar."""

    name: str

    def __call__(self, logits: Tensor, target: Tensor) -> Tensor: ...


LossDict = dict[str, Tensor]
"""Named scalar losses, whose sum is minimized."""

RegionLossFunction = Callable[[Tensor, Tensor], LossDict]
"""(B, R, X, Y, Z) logits and (B, X, Y, Z) uint8 label maps -> named scalar terms."""


@dataclass(frozen=True)
class RegionLoss:
    """Voxel-wise term + Dice, each region optimized on its own and all summed (paper section 2.4).

    The Dice loss of a region is 1 - (2I + ε) / (P + G + ε) with I, P, G the sums of p·y, p and y over *all samples of
    the batch* (the paper's "batched variant"), p being sigmoid probabilities. This is MONAI's `DiceLoss(sigmoid=True,
    batch=True)`, which the released code uses. It is computed in float32, also under autocast.

    Raises:
        ValueError: an argument is out of range.
    """

    voxelwise: VoxelwiseTerm
    """The term added to Dice, e.g. `BinaryCrossEntropy` or `Focal`."""
    dice_over: Literal["process", "global"]
    """"process": the Dice of the rank's own samples, as in the released code; "global": over the samples of all ranks,
    so that two ranks equal one with the doubled batch."""
    epsilon: float
    """ε, keeps an empty region defined; MONAI's 1e-5."""
    labels: LabelScheme
    """Defines the regions."""

    def __post_init__(self) -> None:
        if self.dice_over not in ("process", "global"):
            raise ValueError(f"dice_over must be process or global, got {self.dice_over!r}")
        if self.epsilon <= 0:
            raise ValueError(f"epsilon must be positive, got {self.epsilon}")

    def __call__(self, logits: Tensor, labels: Tensor) -> LossDict:
        """Compute the terms, each summed over the regions.

        `logits` are (B, R, X, Y, Z) of any float type, channels as the regions; `labels` (B, X, Y, Z) uint8.

        Raises:
            ValueError: the shapes do not match.
        """
        if logits.shape != (labels.shape[0], len(self.labels.regions), *labels.shape[1:]):
            raise ValueError(f"logits {tuple(logits.shape)} do not fit labels {tuple(labels.shape)}")
        targets = self.labels.to_regions(labels)
        voxelwise, sums = [], []
        # Region by region: the float32 copies of one region are a fraction of the peak memory and stay in the cache.
        for z, y in zip(logits.unbind(1), targets.unbind(1), strict=True):
            z, y = z.float(), y.float()
            p = torch.sigmoid(z)
            voxelwise.append(self.voxelwise(z, y))
            sums.append(torch.stack([(p * y).sum(), p.sum(), y.sum()]))
        return {self.voxelwise.name: torch.stack(voxelwise).sum(), "dice": self._dice(torch.stack(sums))}

    def _dice(self, sums: Tensor) -> Tensor:
        """Sum the Dice losses of (R regions, [I, P, G])."""
        if self.dice_over == "global":
            sums = all_reduce_sum(sums)
        intersection, predicted, true = sums.unbind(1)
        return (1 - (2 * intersection + self.epsilon) / (predicted + true + self.epsilon)).sum()


class ModuleLoss:
    """Calls a loss of (logits, targets), both (B, R, X, Y, Z) float32, that returns a scalar."""

    def __init__(self, loss: nn.Module, labels: LabelScheme) -> None:
        self.loss = loss
        self.labels = labels

    def __call__(self, logits: Tensor, labels: Tensor) -> LossDict:
        """Compute the loss of logits (B, R, X, Y, Z) and label maps (B, X, Y, Z); its class's name is the term's."""
        value: Tensor = self.loss.to(logits.device)(logits.float(), self.labels.to_regions(labels).float())
        return {type(self.loss).__name__: value}
