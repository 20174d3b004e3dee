"""Deep supervision: the weighted region losses of several heads of the network."""

from __future__ import annotations

from typing import Literal

import torch.nn.functional as F
from torch import Tensor

from brats_ablate.losses.region_loss import LossDict, RegionLossFunction


class SingleHead:
    """Trains the finest head only, as the baseline; the network is built with one head."""

    n_heads = 1

    def __call__(self, region_loss: RegionLossFunction, logits: list[Tensor], labels: Tensor) -> LossDict:
        """Compute the region loss of one head's logits (B, 3, X, Y, Z) and labels (B, X, Y, Z)."""
        _check_n_heads(logits, self.n_heads)
        return region_loss(logits[0], labels)


class DeepSupervision:
    """Trains every head on labels downsampled to its grid: Σ_i w_i · L(y_i, p_i), equation 1 (section 2.4).

    Labels are downsampled by nearest neighbor. The weighted sum is *not* divided by the sum of the weights.

    Args:
        weights: one per head, finest first; the paper's are 1, ½, ¼.

    Raises:
        ValueError: a weight is not positive.
    """

    def __init__(self, weights: list[float]) -> None:
        if not weights or min(weights) <= 0:
            raise ValueError(f"weights must be positive, one per head, got {weights}")
        self.weights = list(weights)

    @property
    def n_heads(self) -> int:
        """The number of heads that the network must have."""
        return len(self.weights)

    def __call__(self, region_loss: RegionLossFunction, logits: list[Tensor], labels: Tensor) -> LossDict:
        """Compute the weighted terms of logits (B, 3, X_i, Y_i, Z_i), finest first, and labels (B, X, Y, Z).

        Raises:
            ValueError: heads and weights differ in number, or a head's grid does not divide the labels'.
        """
        _check_n_heads(logits, self.n_heads)
        total: LossDict = {}
        for weight, head in zip(self.weights, logits, strict=True):
            for name, value in region_loss(*self.on_one_grid(head, labels)).items():
                total[name] = total[name] + weight * value if name in total else weight * value
        return total

    def on_one_grid(self, head: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return the head's logits, and the labels downsampled to their grid."""
        return head, nearest_labels(labels, head.shape[2:])


class DeepSupervisionAsReleased(DeepSupervision):
    """Deep supervision as in the paper's code: heads are upsampled to full size, the sum is divided by Σ w_i = 1.75.

    Both differ from equation 1.

    Args:
        weights: one per head, finest first.
        upsampling: "trilinear" interpolates between the logits, corners on corners, as the paper's code does; "nearest"
            repeats each logit, as version 0.1 did.
    """

    def __init__(self, weights: list[float], upsampling: Literal["trilinear", "nearest"] = "nearest") -> None:
        super().__init__(weights)
        self.weights = [weight / sum(weights) for weight in weights]
        self.upsampling = upsampling

    def on_one_grid(self, head: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return the head's logits upsampled to the labels' grid, and the labels."""
        align_corners = True if self.upsampling == "trilinear" else None  # "nearest" takes no such option
        return F.interpolate(head, size=labels.shape[1:], mode=self.upsampling, align_corners=align_corners), labels


def nearest_labels(labels: Tensor, grid: tuple[int, ...]) -> Tensor:
    """Downsample labels (B, X, Y, Z) to a coarser `grid`: voxel i takes the label at i·ratio, as torch's "nearest".

    Raises:
        ValueError: an axis of `grid` does not divide the labels' axis.
    """
    if any(full % coarse for full, coarse in zip(labels.shape[1:], grid, strict=True)):
        raise ValueError(f"labels of {tuple(labels.shape[1:])} voxels cannot be downsampled to {tuple(grid)}")
    x, y, z = (full // coarse for full, coarse in zip(labels.shape[1:], grid, strict=True))
    return labels[:, ::x, ::y, ::z]


def _check_n_heads(logits: list[Tensor], n_heads: int) -> None:
    if len(logits) != n_heads:
        raise ValueError(f"the network has {len(logits)} heads and the supervision has weights for {n_heads}")
