"""The optimizer of the paper. The configuration may name any class of `torch.optim` instead."""

from __future__ import annotations

from collections.abc import Iterable

import torch


def adam(parameters: Iterable[torch.nn.Parameter], lr: float, weight_decay: float) -> torch.optim.Optimizer:
    """Make Adam with L2 weight decay (paper section 3.2), in torch's fused form."""
    return torch.optim.Adam(parameters, lr=lr, weight_decay=weight_decay, fused=True)
