"""The objective: what a network returned, and what is true -> the one number that the optimiser lowers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from brats_ablate.losses.region import RegionLossFunction, Terms


class Supervision(Protocol):
    """Applies a region loss to the network's heads."""

    @property
    def heads(self) -> int: ...

    def __call__(self, region_loss: RegionLossFunction, logits: list[Tensor], labels: Tensor) -> Terms: ...


AuxiliaryTerms = Callable[[dict[str, Tensor], Tensor], Terms]
"""The network's extras and its input -> weighted terms."""


@dataclass(frozen=True)
class Objective:
    """Region loss over the supervised heads, plus the auxiliary terms."""

    region_loss: RegionLossFunction
    supervision: Supervision
    auxiliary: AuxiliaryTerms

    def __call__(
        self, logits: list[Tensor], extras: dict[str, Tensor], labels: Tensor, images: Tensor
    ) -> tuple[Tensor, Terms]:
        """The total and its named summands.

        Args:
            logits: (B, 3, X_i, Y_i, Z_i) per head, finest first.
            extras: what the network returned beside them.
            labels: (B, X, Y, Z) uint8 nesting depths.
            images: (B, C, X, Y, Z), the network's input.

        Returns:
            The scalar loss, float32, and the terms that sum to it.
        """
        terms = self.supervision(self.region_loss, logits, labels) | self.auxiliary(extras, images)
        return torch.stack(list(terms.values())).sum(), terms
