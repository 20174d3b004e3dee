"""A trial of a foreign network on the meta device: which inputs it takes, and whether its outputs fit.

The meta device propagates shapes and has no values, so a trial needs no data and allocates no weights.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from brats_ablate.errors import ConfigError, ConstructionFailed
from brats_ablate.models.base import Model, SegmentationOutput
from brats_ablate.runtime.text import first_line

Shape = tuple[int, int, int]
_STEPS = (2, 4, 8, 16, 32, 64, 128)
"""Divisors of the shape that the message about an impossible patch suggests."""


@dataclass(frozen=True)
class Trial:
    """What a network was found to need."""

    size_divisor: Shape
    """What X, Y and Z of any input must be divisible by."""
    fixed_shape: bool
    """Whether it takes inputs of the patch's shape only."""
    without_gradient: frozenset[str]
    """Names of the parameters that no supervised head depends on."""


@dataclass(frozen=True)
class Task:
    """What is required of a network.

    Args:
        name: of the network, for messages.
        in_channels: of its input.
        out_channels: of its logits.
        n_heads: supervised heads.
        patch_shape: (X, Y, Z) of the training patches.
    """

    name: str
    in_channels: int
    out_channels: int
    n_heads: int
    patch_shape: Shape


class _NotOnMeta(Exception):
    """The network computes something that the meta device does not have."""


_TRIALS: dict[bytes, Trial] = {}
"""Results by constructor, arguments and task, so that a sweep or a run tries each network once."""


def try_network(
    construct: Callable[[], nn.Module], task: Task, size_divisor: Shape | None = None, *, fixed_shape: bool = False
) -> Trial:
    """Try a network; its weights and the random numbers of the caller are not touched.

    Args:
        construct: constructs it.
        task: what is required of it.
        size_divisor: None to find it.
        fixed_shape: whether the network is known to take one shape only.

    Raises:
        ConfigError: the network cannot be constructed, does not take the patch, or returns something else than logits
            of the task's shape and number; or it does not run on the meta device, and `size_divisor` is None.
    """
    try:
        key = pickle.dumps((construct, task, size_divisor, fixed_shape))
    except (pickle.PicklingError, AttributeError, TypeError):  # an argument that has no content to compare by
        return _try(construct, task, size_divisor, fixed_shape=fixed_shape)
    if key not in _TRIALS:
        _TRIALS[key] = _try(construct, task, size_divisor, fixed_shape=fixed_shape)
    return _TRIALS[key]


def on_meta_device(build: Callable[[], Model]) -> Model:
    """Build a network on the meta device, via the CPU if its constructor reads a value of a tensor."""
    try:
        with torch.device("meta"):
            return build()
    except (RuntimeError, ConstructionFailed):
        network = build()
        return network.to("meta") if isinstance(network, nn.Module) else network


def logits_of(output: object, name: str) -> SegmentationOutput:
    """Return what a foreign network returned as a `SegmentationOutput`, its heads finest first.

    A tensor is one head; a list or tuple are several, and so is a tensor (B, heads, K, X, Y, Z), as MONAI's DynUNet
    returns in training. Of a dict, the entry `out` is taken.

    Raises:
        ConfigError: it is none of these.
    """
    if isinstance(output, SegmentationOutput):
        return output
    if isinstance(output, Mapping) and "out" in output:
        output = output["out"]
    if isinstance(output, Tensor):
        return SegmentationOutput(list(output.unbind(1)) if output.ndim == 6 else [output], {})
    if isinstance(output, Sequence) and output and all(isinstance(head, Tensor) for head in output):
        return SegmentationOutput(list(output), {})
    keys = f" with {', '.join(map(str, output))}" if isinstance(output, Mapping) else ""
    raise ConfigError(
        f"model: {name} returns {type(output).__name__}{keys}; it must return logits (B, K, X, Y, Z), a list of them, "
        "finest first, or a dict with either as `out`"
    )


def _try(construct: Callable[[], nn.Module], task: Task, size_divisor: Shape | None, *, fixed_shape: bool) -> Trial:
    network = _construct(construct, task.name)
    known = Trial(size_divisor or task.patch_shape, fixed_shape, frozenset())
    try:
        without_gradient = _check_patch(network, task)
        if size_divisor is not None or fixed_shape:
            return Trial(known.size_divisor, fixed_shape, without_gradient)
        steps = [_divisor(network, task, axis) for axis in range(3)]
    except _NotOnMeta as error:
        if size_divisor is not None or fixed_shape:
            return known
        raise ConfigError(
            f"model: {task.name} cannot be tried without data ({error}); set model.size_divisor=[x,y,z], what each "
            "axis of its input must be divisible by, or declare size_divisor in its class"
        ) from None
    x, y, z = (step or size for step, size in zip(steps, task.patch_shape, strict=True))
    return Trial((x, y, z), None in steps, without_gradient)


def _construct(construct: Callable[[], nn.Module], name: str) -> nn.Module:
    """Construct the network on the meta device.

    Raises:
        ConfigError: its constructor fails, or returns something else.
    """
    try:
        with torch.random.fork_rng(devices=[]):
            network = on_meta_device(construct)
    except ConfigError:
        raise
    except Exception as error:
        raise ConfigError(
            f"model: {name} cannot be constructed ({first_line(error)}); correct its arguments"
        ) from error
    if not isinstance(network, nn.Module):
        raise ConfigError(f"model: {name} constructs a {type(network).__name__}, not a torch.nn.Module")
    return network


def _check_patch(network: nn.Module, task: Task) -> frozenset[str]:
    """Check the outputs for a patch in training and evaluation; return the parameters without a gradient."""
    try:
        output = _forward(network.train(), task, task.patch_shape)
        finest = _forward(network.eval(), task, task.patch_shape).logits[:1]
    except (_NotOnMeta, ConfigError):
        raise
    except Exception as error:
        shape = list(task.patch_shape)
        raise ConfigError(
            f"model: {task.name} does not take {task.in_channels} channels of patches.shape={shape} "
            f"({first_line(error)}); {_remedy(network, task)}"
        ) from error
    if len(output.logits) < task.n_heads:
        raise ConfigError(
            f"model: {task.name} returns {len(output.logits)} head(s) in training, but supervision has weights for "
            f"{task.n_heads}; set supervision=none, or the argument of {task.name} that switches lower heads on"
        )
    supervised = output.logits[: task.n_heads]
    for head in (*supervised[:1], *finest):
        _check_finest(head, network, task)
    for number, head in enumerate(supervised[1:], start=2):
        _check_lower(head, number, task)
    return _without_gradient(network, [*supervised, *output.aux.values()])


def _forward(network: nn.Module, task: Task, shape: Shape) -> SegmentationOutput:
    """Run the network on an input without values.

    Raises:
        ConfigError: it returns no logits.
        _NotOnMeta: it needs values.
        Exception: what the network itself raises: it does not take this shape.
    """
    try:
        output = network(torch.zeros((1, task.in_channels, *shape), device="meta"))
    except Exception as error:
        if isinstance(error, NotImplementedError) or "meta" in str(error).lower():
            raise _NotOnMeta(first_line(error)) from error
        raise
    return logits_of(output, task.name)


def _check_finest(head: Tensor, network: nn.Module, task: Task) -> None:
    if head.ndim != 5 or head.shape[2:] != task.patch_shape:
        raise ConfigError(
            f"model: {task.name} returns {list(head.shape)} for a patch of {list(task.patch_shape)} voxels, in place "
            f"of logits (B, K, X, Y, Z) of that size, finest first; {_remedy(network, task)}"
        )
    if head.shape[1] != task.out_channels:
        raise ConfigError(
            f"model: {task.name} returns {head.shape[1]} channels for {task.out_channels} regions; set its argument "
            "for output channels to ${regions:}"
        )


def _check_lower(head: Tensor, number: int, task: Task) -> None:
    fits = head.ndim == 5 and head.shape[1] == task.out_channels
    if not fits or any(full % size for full, size in zip(task.patch_shape, head.shape[2:], strict=True)):
        raise ConfigError(
            f"model: {task.name} returns head {number} of shape {list(head.shape)}; a lower head has "
            f"{task.out_channels} channels, and axes that divide those of the patch, {list(task.patch_shape)}"
        )


def _without_gradient(network: nn.Module, outputs: Sequence[Tensor]) -> frozenset[str]:
    """Return the names of parameters that no output depends on; none where the meta device has no gradients."""
    named = [(name, p) for name, p in network.named_parameters() if p.requires_grad]
    differentiable = [tensor for tensor in outputs if tensor.requires_grad]
    if not named or not differentiable:
        return frozenset()
    ones = [torch.ones_like(tensor) for tensor in differentiable]
    try:
        gradients = torch.autograd.grad(differentiable, [p for _, p in named], ones, allow_unused=True)
    except RuntimeError:
        return frozenset()
    return frozenset(name for (name, _), gradient in zip(named, gradients, strict=True) if gradient is None)


def _divisor(network: nn.Module, task: Task, axis: int) -> int | None:
    """Return what an axis must be divisible by; None if it must be that of the patch.

    The patch is divisible by it, so patch + step is if and only if the step is. The smallest step is the divisor.
    """
    size = task.patch_shape[axis]
    for step in (n for n in range(1, size + 1) if size % n == 0):
        x, y, z = (each + step * (i == axis) for i, each in enumerate(task.patch_shape))
        if _takes(network, task, (x, y, z)):
            return step
    return None


@torch.no_grad()
def _takes(network: nn.Module, task: Task, shape: Shape) -> bool:
    """Return whether the network maps an input of `shape` to logits of that shape."""
    try:
        finest = _forward(network, task, shape).logits[0]
    except _NotOnMeta:
        raise
    except Exception:
        return False
    return finest.shape[2:] == shape


def _remedy(network: nn.Module, task: Task) -> str:
    """Return which patch the network takes instead, if rounding up finds one."""
    for step in _STEPS:
        x, y, z = (-(-size // step) * step for size in task.patch_shape)
        if _takes(network, task, (x, y, z)):
            return f"it takes patches.shape=[{x},{y},{z}]"
    return "change patches.shape, or the arguments of the network"
