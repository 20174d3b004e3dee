"""Total loss: the region losses of the network's heads plus auxiliary terms."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from brats_ablate.errors import ConfigError
from brats_ablate.losses.region_loss import LossDict, RegionLossFunction


class NetworkOutput(Protocol):
    """Logits (B, 3, X_i, Y_i, Z_i) per head, finest first, and outputs for auxiliary losses by name."""

    @property
    def logits(self) -> list[Tensor]: ...

    @property
    def aux(self) -> dict[str, Tensor]: ...


class Supervision(Protocol):
    """Applies a region loss to the network's heads."""

    @property
    def n_heads(self) -> int: ...

    def __call__(self, region_loss: RegionLossFunction, logits: list[Tensor], labels: Tensor) -> LossDict: ...


AuxiliaryTerms = Callable[[dict[str, Tensor], Tensor], LossDict]
"""The network's auxiliary outputs and its input -> weighted terms."""


@dataclass(frozen=True)
class TotalLoss:
    """Region loss of the supervised heads plus auxiliary terms."""

    region_loss: RegionLossFunction
    supervision: Supervision
    auxiliary: AuxiliaryTerms

    def __call__(self, output: NetworkOutput, labels: Tensor, images: Tensor) -> tuple[Tensor, LossDict]:
        """Return the scalar loss, float32, and the named terms that sum to it.

        `labels` are nested, (B, X, Y, Z) uint8; `images` (B, C, X, Y, Z) are the network's input.
        """
        terms = self.supervision(self.region_terms, output.logits, labels) | self.auxiliary(output.aux, images)
        return torch.stack(list(terms.values())).sum(), terms

    def region_terms(self, logits: Tensor, labels: Tensor) -> LossDict:
        """Compute the region loss of one head, as named scalars.

        Raises:
            ConfigError: it returns something else.
        """
        terms: object = self.region_loss(logits, labels)
        if not isinstance(terms, dict):
            name = type(self.region_loss).__name__
            raise ConfigError(f"loss: {name} must return a dict of named terms, or be a torch.nn.Module; correct it")
        for name, term in terms.items():
            if not isinstance(term, Tensor) or term.numel() != 1:
                kind = f"tensor of shape {list(term.shape)}" if isinstance(term, Tensor) else type(term).__name__
                raise ConfigError(f"loss: {name} returns a {kind}, not a scalar tensor; return its mean or sum")
        return {name: term.reshape(()) for name, term in terms.items()}
