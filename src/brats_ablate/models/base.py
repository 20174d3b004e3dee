"""`SegmentationModel`, the interface of every network to the trainer and the jobs."""

from __future__ import annotations

from typing import ClassVar, NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from brats_ablate.errors import ConfigError


class Scheduled(nn.Module):
    """A layer with a schedule, a pure function of the step, so that a resumed run equals an uninterrupted one."""

    def set_step(self, step: int) -> None:
        """Set the layer for training step `step` (0-based)."""
        raise NotImplementedError


class KeepsInitialization:
    """Marks a layer whose weights `initialize` leaves as its constructor drew them."""


class SegmentationModel(nn.Module):
    """A network from (B, C, X, Y, Z) to a `SegmentationOutput`.

    Its class attributes declare what it can do. They are literals, as `config.constraints` reads them from the source
    to refuse impossible configurations before anything is loaded; a plain `nn.Module` may declare them, too.

    The job derives five arguments that every subclass takes: `in_channels` (C), `out_channels` (the number of regions),
    `n_heads` (heads from the finest stage down, whose logits are returned in every mode), `patch_shape`, and `encoder`
    (channels per stage, width).

    Args:
        patch_shape: (X, Y, Z) of the training patches; `forward` takes any divisible shape unless `fixed_shape`.
        size_divisor: what each axis of any input must be divisible by; None for the class's own.

    Raises:
        ConfigError: if `patch_shape` is not divisible by `size_divisor`.
    """

    size_divisor: tuple[int, int, int] = (1, 1, 1)
    """What X, Y and Z of any input must be divisible by."""
    per_stage: ClassVar[tuple[str, ...]] = ()
    """Configuration keys of the lists with one entry per stage. `size_divisor` is then 2^(n_stages - 1)."""
    min_bottom_voxels: ClassVar[int] = 1
    """Voxels that must be left at the lowest resolution; instance norm needs 2."""
    supports_deep_supervision: ClassVar[bool | None] = False
    """Whether it can be built with several heads; None if only its construction shows that."""
    fixed_shape: bool = False
    """Whether `forward` takes volumes of `patch_shape` only."""
    traces_any_shape: ClassVar[bool] = True
    """Whether a trace of `forward` at one shape holds for all, as the export of dynamic shapes needs."""
    aux_outputs: ClassVar[tuple[str, ...]] = ()
    """Names in `SegmentationOutput.aux` during training, for an auxiliary loss."""

    def __init__(self, patch_shape: tuple[int, int, int], size_divisor: tuple[int, int, int] | None = None) -> None:
        super().__init__()
        self.patch_shape = tuple(patch_shape)
        if size_divisor is not None:
            self.size_divisor = size_divisor
        if any(size % d for size, d in zip(self.patch_shape, self.size_divisor, strict=True)):
            raise ConfigError(
                f"patches.shape={list(patch_shape)} is not divisible by {list(self.size_divisor)}, "
                f"as {type(self).__name__} needs; change patches.shape or encoder"
            )

    def forward(self, x: Tensor) -> SegmentationOutput:
        """Map (B, C, X, Y, Z) to logits and auxiliary outputs."""
        raise NotImplementedError

    def set_step(self, step: int) -> None:
        """Set every scheduled layer for training step `step` (0-based)."""
        for module in self.modules():
            if isinstance(module, Scheduled):
                module.set_step(step)


def initialize(model: nn.Module) -> None:
    """Initialize (transposed) convolutions by Kaiming (normal, a = 0.01, fan-in), biases by 0 (paper section 3.2).

    Layers that are marked by `KeepsInitialization` are skipped.
    """
    for module in model.modules():
        if isinstance(module, nn.Conv3d | nn.ConvTranspose3d) and not isinstance(module, KeepsInitialization):
            nn.init.kaiming_normal_(module.weight, a=0.01)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


class SegmentationOutput(NamedTuple):
    """The output of a network."""

    logits: list[Tensor]
    """(B, K, X_i, Y_i, Z_i) per head, finest first; head i has the spatial shape of the input divided by 2^i."""
    aux: dict[str, Tensor]
    """Further outputs for auxiliary losses, by name (`SegResNetVAE`, in training); else empty."""


Model = TypeVar("Model", bound=nn.Module)


def to_device(model: Model, device: torch.device | str, layout: torch.memory_format = torch.channels_last_3d) -> Model:
    """Move `model` in place, with the weights of its 3-D convolutions in `layout`; return it.

    The fast convolutions of CPUs and GPUs need channels last; feature maps follow the weights' layout.
    """
    model.to(device=device).to(memory_format=layout)  # type: ignore[call-overload]  # torch's stubs lack 5-D
    return model
