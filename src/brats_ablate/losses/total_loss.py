"""The objective: what a network returned, and what is true -> the one number that the optimiser lowers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from brats_ablate.losses.region_loss import LossDict, RegionLossFunction


class Supervision(Protocol):
    """Applies a region loss to the network's heads."""

    @property
    def heads(self) -> int: ...

    def __call__(self, region_loss: RegionLossFunction, logits: list[Tensor], labels: Tensor) -> LossDict: ...


AuxiliaryTerms = Callable[[dict[str, Tensor], Tensor], LossDict]
"""The network's extras and its input -> weighted terms."""


@dataclass(frozen=True)
class TotalLoss:
    """Region loss over the supervised heads, plus the auxiliary terms."""

    region_loss: RegionLossFunction
    supervision: Supervision
    auxiliary: AuxiliaryTerms

    def __call__(
        self, logits: list[Tensor], aux: dict[str, Tensor], labels: Tensor, images: Tensor
    ) -> tuple[Tensor, LossDict]:
        """The total and its named summands.

        Args:
            logits: (B, 3, X_i, Y_i, Z_i) per head, finest first.
            extras: what the network returned beside them.
            labels: (B, X, Y, Z) uint8 nesting depths.
            images: (B, C, X, Y, Z), the network's input.

        Returns:
            The scalar loss, float32, and the terms that sum to it.
        """
        terms = self.supervision(self.region_loss, logits, labels) | self.auxiliary(aux, images)
        return torch.stack(list(terms.values())).sum(), terms
