"""`trainer.detect_anomaly`: names the layer or operation that makes the first NaN."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from brats_ablate.errors import RunFailed


@contextmanager
def anomaly_detection(model: nn.Module, enabled: bool) -> Iterator[None]:
    """Check every layer's output and, by torch's anomaly mode, every operation of the backward pass, if `enabled`.

    Anomaly mode alone names the operation after the one at fault: a NaN of the forward pass reaches the gradients
    through the loss.

    Raises:
        RunFailed: within the block, a layer of `model` returned a value that is not finite.
    """
    if not enabled:
        yield
        return
    hooks = [
        module.register_forward_hook(partial(_check_output, name or "the network"))
        for name, module in model.named_modules()
    ]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that it is slow, which our documentation says
            mode = torch.autograd.detect_anomaly()
        with mode:
            yield
    finally:
        for hook in hooks:
            hook.remove()


def _check_output(name: str, layer: nn.Module, inputs: tuple[object, ...], output: object) -> None:
    """Raise RunFailed if `output` has a value that is not finite; layers end before those that contain them."""
    if _all_finite(output):
        return
    named = f"{name} ({type(layer).__name__})"
    if _all_finite(inputs):
        raise RunFailed(
            f"{named} makes values that are not finite; check its forward, and whether its inputs are in the range "
            "that it expects"
        )
    raise RunFailed(
        f"{named} gets values that are not finite, which no layer before it returned; check the code that calls it, "
        "and the data"
    )


def _all_finite(tree: object) -> bool:
    """Check the tensors of nested lists, tuples and dicts."""
    return all(_is_finite(leaf) for leaf in tree_leaves(tree) if isinstance(leaf, Tensor))


def _is_finite(tensor: Tensor) -> bool:
    # A sum takes a fraction of the time, and is finite only if every summand is.
    return bool(tensor.sum(dtype=torch.float32).isfinite()) or bool(tensor.isfinite().all())
