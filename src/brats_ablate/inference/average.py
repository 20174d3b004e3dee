"""What the overlapping windows and the flips of one network are averaged as."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import torch
from torch import Tensor


@dataclass(frozen=True)
class Average:
    """A mean of quantities computed from logits, and the region probabilities of that mean. Both act in place."""

    of_logits: Callable[[Tensor], Tensor]
    to_probabilities: Callable[[Tensor], Tensor]


def _unchanged(values: Tensor) -> Tensor:
    return values


AVERAGES: Mapping[str, Average] = MappingProxyType(
    {
        "probabilities": Average(torch.sigmoid_, _unchanged),
        "logits": Average(_unchanged, torch.sigmoid_),
    }
)
"""`inference.average`: probabilities in the text (paper section 2.5), logits in the released code."""
