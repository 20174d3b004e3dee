"""What the trainer and the jobs may ask of any network: every model is a `SegmentationModel`."""

from __future__ import annotations

from typing import NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from brats_ablate.errors import ConfigError


class Scheduled(nn.Module):
    """A layer that trains by a schedule: a pure function of the step, so that a resumed run agrees."""

    def set_step(self, step: int) -> None:
        """Set the layer for training step `step` (0-based)."""
        raise NotImplementedError


class SegmentationModel(nn.Module):
    """A network from (B, C, X, Y, Z) to an `Output`; its constructor gets `patch_shape` and `divisor` checked
    here.

    Args:
        patch_shape: (X, Y, Z) of the training patches.
        divisor: what each axis of any input must be divisible by.

    Raises:
        ConfigError: if `patch_shape` is not divisible by `divisor`.
    """

    def __init__(self, patch_shape: tuple[int, int, int], divisor: tuple[int, int, int]) -> None:
        super().__init__()
        self.patch_shape = tuple(patch_shape)
        self._divisor = divisor
        if any(s % d for s, d in zip(self.patch_shape, divisor, strict=True)):
            raise ConfigError(
                f"patches.shape={list(patch_shape)} is not divisible by {list(divisor)}, "
                f"as {type(self).__name__} needs; change patches.shape or encoder"
            )

    @property
    def divisor(self) -> tuple[int, int, int]:
        """What X, Y and Z of a volume given to `forward` must be divisible by."""
        return self._divisor

    @property
    def fixed_shape(self) -> bool:
        """Whether `forward` takes volumes of `patch_shape` only."""
        return False

    def forward(self, x: Tensor) -> SegmentationOutput:
        """(B, C, X, Y, Z) -> Output."""
        raise NotImplementedError

    def set_step(self, step: int) -> None:
        """Tell every layer that has a schedule which training step (0-based) comes next."""
        for module in self.modules():
            if isinstance(module, Scheduled):
                module.set_step(step)


def initialize(model: nn.Module) -> None:
    """Kaiming (normal, a = 0.01, fan-in) for (transposed) 3-D convolutions, biases 0 (paper section 3.2)."""
    for module in model.modules():
        if isinstance(module, nn.Conv3d | nn.ConvTranspose3d):
            nn.init.kaiming_normal_(module.weight, a=0.01)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


class SegmentationOutput(NamedTuple):
    """A network's answer.

    logits: one (B, K, X, Y, Z) per head, finest first; head i has the spatial shape of the input divided by
        2^i.
    extras: what an auxiliary loss needs besides, by name (`SegResNetVAE`, in training); else empty.
    """

    logits: list[Tensor]
    aux: dict[str, Tensor]


Model = TypeVar("Model", bound=nn.Module)


def to_device(model: Model, device: torch.device | str, layout: torch.memory_format = torch.channels_last_3d) -> Model:
    """Moves `model`, in place, and lays the weights of its 3-D convolutions out as `layout`; returns it.

    Channels last is what the fast convolutions of CPUs and GPUs want; the volumes follow the weights' layout.
    """
    model.to(device=device).to(memory_format=layout)  # type: ignore[call-overload]  # torch's stubs know of 4-D alone
    return model
