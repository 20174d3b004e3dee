"""Parameters, FLOPs, activations and shapes of a network, counted on the meta device.

The meta device propagates shapes and computes no values, so a full-size network is counted in a second.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import Node
from torch.utils.flop_counter import FlopCounterMode

from brats_ablate.models.base import SegmentationModel
from brats_ablate.models.trial import on_meta_device


@dataclass(frozen=True)
class ModuleCall:
    """One call of a submodule in the forward pass."""

    name: str
    module: nn.Module
    inputs: tuple[torch.Size, ...]
    outputs: tuple[torch.Size, ...]
    input_nodes: tuple[Node | None, ...] = field(default=(), repr=False)
    """The autograd node of each input, for `dataflow`; None for the network's own input."""
    output_nodes: tuple[Node | None, ...] = field(default=(), repr=False)
    """The autograd node of each output."""


@dataclass(frozen=True)
class Counts:
    """Cost of one training-mode forward of one patch."""

    parameters: int
    forward_flop: int
    """Of convolutions and matrix products; a multiplication and an addition are two."""
    activation_bytes: int
    """Saved for the backward pass in float32, without parameters; about half of it under 16-bit autocast."""
    calls: tuple[ModuleCall, ...]
    """Every call of a submodule, in the order in which they returned."""


def count(build: Callable[[], SegmentationModel], input_shape: Sequence[int]) -> Counts:
    """Count the network that `build` returns for an input (B, C, X, Y, Z)."""
    model = on_meta_device(build).train()
    parameters = sum(p.numel() for p in model.parameters())
    calls: list[ModuleCall] = []
    of_parameters = [p.untyped_storage() for p in model.parameters()]
    saved = {id(storage): storage for storage in of_parameters}

    def save(tensor: Tensor) -> Tensor:
        # Several operations save the same tensor: each storage counts once, and is held so that its id is unique.
        storage = tensor.untyped_storage()
        saved[id(storage)] = storage
        return tensor

    counter = FlopCounterMode(display=False)
    with _recorded(model, calls), counter, torch.autograd.graph.saved_tensors_hooks(save, lambda tensor: tensor):
        model(torch.zeros(input_shape, device="meta"))
    activation_bytes = sum(saved[key].nbytes() for key in saved.keys() - {id(storage) for storage in of_parameters})
    return Counts(parameters, counter.get_total_flops(), activation_bytes, tuple(calls))


@contextmanager
def _recorded(model: nn.Module, calls: list[ModuleCall]) -> Iterator[None]:
    """Append every call of a submodule of `model` to `calls` as it returns."""

    def hook_of(name: str) -> Callable[[nn.Module, Any, Any], None]:
        def hook(module: nn.Module, inputs: Any, outputs: Any) -> None:
            tensors = list(_tensors(inputs)), list(_tensors(outputs))
            x, y = (tuple(t.shape for t in side) for side in tensors)
            calls.append(ModuleCall(name, module, x, y, *(tuple(t.grad_fn for t in side) for side in tensors)))

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
