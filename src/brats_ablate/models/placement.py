"""Where a network's weights lie: on which device, and in which order of their elements."""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import nn

Model = TypeVar("Model", bound=nn.Module)


def place(model: Model, device: torch.device | str, layout: torch.memory_format = torch.channels_last_3d) -> Model:
    """Moves `model`, in place, and lays the weights of its 3-D convolutions out as `layout`; returns it.

    Channels last is what the fast convolutions of CPUs and GPUs want; the volumes follow the weights' layout.
    """
    model.to(device=device).to(memory_format=layout)  # type: ignore[call-overload]  # torch's stubs know of 4-D alone
    return model
