"""Counts of a network that need no numbers: parameters, operations, activations, and the shapes on its way.

The network runs on torch's meta device, which knows shapes and computes nothing, so a full-size network at a
full-size patch is counted in a second.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import Node
from torch.utils.flop_counter import FlopCounterMode

from brats_ablate.models.base import SegmentationModel

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Passed:
    """One module that the input passed through, in the order of the forward pass."""

    name: str
    module: nn.Module
    inputs: tuple[Shape, ...]
    outputs: tuple[Shape, ...]
    entered: tuple[Node | None, ...] = field(default=(), repr=False)
    """What computed each input; None for the network's own input. For `flow`."""
    left: tuple[Node | None, ...] = field(default=(), repr=False)
    """What computed each output."""


@dataclass(frozen=True)
class Counts:
    """What one training-mode forward of one patch needs."""

    parameters: int
    forward_flop: int
    """Of convolutions and matrix products, a multiplication and an addition being two."""
    activation_bytes: int
    """Kept for the backward pass in float32, without parameters; about half of it under 16-bit autocast."""
    passed: tuple[Passed, ...]


def count(build: Callable[[], SegmentationModel], input_shape: tuple[int, int, int, int, int]) -> Counts:
    """The counts of the network that `build` returns for an input (B, C, X, Y, Z)."""
    model = _without_numbers(build).train()
    x = torch.zeros(input_shape, device="meta")
    parameters = sum(p.numel() for p in model.parameters())
    passed: list[Passed] = []
    kept: dict[int, torch.UntypedStorage] = {}
    own = {p.untyped_storage()._cdata for p in model.parameters()}

    def keep(tensor: Tensor) -> Tensor:
        # Many operations keep the same tensor: a storage counts once, and is held so that its address stays its own.
        storage = tensor.untyped_storage()
        if storage._cdata not in own:
            kept[storage._cdata] = storage
        return tensor

    counter = FlopCounterMode(display=False)
    with (
        _recorded(model, passed),
        counter,
        torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor),
    ):
        model(x)
    activation_bytes = sum(storage.nbytes() for storage in kept.values())
    return Counts(parameters, counter.get_total_flops(), activation_bytes, tuple(passed))


def _without_numbers(build: Callable[[], SegmentationModel]) -> SegmentationModel:
    """The network on the meta device: at once, or by way of the CPU where a constructor reads a number off a tensor."""
    try:
        with torch.device("meta"):
            return build()
    except RuntimeError:
        return build().to("meta")


@contextmanager
def _recorded(model: nn.Module, passed: list[Passed]) -> Iterator[None]:
    """Append every module that `model` calls to `passed` as it returns."""

    def hook_of(name: str) -> Callable[[nn.Module, Any, Any], None]:
        def hook(module: nn.Module, inputs: Any, outputs: Any) -> None:
            given, made = tuple(_tensors(inputs)), tuple(_tensors(outputs))
            passed.append(Passed(name, module, _shapes(given), _shapes(made), _nodes(given), _nodes(made)))

        return hook

    handles = [m.register_forward_hook(hook_of(name)) for name, m in model.named_modules() if name]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _tensors(item)


def _shapes(tensors: tuple[Tensor, ...]) -> tuple[Shape, ...]:
    return tuple(tuple(t.shape) for t in tensors)


def _nodes(tensors: tuple[Tensor, ...]) -> tuple[Node | None, ...]:
    return tuple(t.grad_fn for t in tensors)
