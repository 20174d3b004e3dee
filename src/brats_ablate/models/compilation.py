"""Compiled execution of a network (torch.compile), with the plain network where it cannot be compiled."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import cast

import torch
from torch import Tensor, nn
from torch._dynamo.exc import FailOnRecompileLimitHit, TorchDynamoException

from brats_ablate.models.base import SegmentationOutput
from brats_ablate.runtime.output import print_message

MOST_GRAPHS = 64
"""Versions of one function that Dynamo may compile. A run has two (training and validation), or on a CPU two for each
stage, whose kernels break the graph; an ensemble has one for each architecture. Dynamo's default is 8."""

_DETERMINISTIC = "deterministic"
"""Option of Inductor that older releases of torch lack."""


class CompiledNetwork:
    """Calls `network` through torch.compile; if that fails, says why once and calls `network` itself from then on.

    Shares all weights with `network`. Compiles at the first call, and again for each further shape. Random numbers,
    such as DropBlock's masks, are those of the plain network. Where torch is to use deterministic algorithms, no kernel
    is chosen by its time, which varies.
    """

    def __init__(self, network: nn.Module) -> None:
        self.network = network
        options: dict[str, str | int | bool | Callable[..., object]] = {"fallback_random": True}
        if torch.are_deterministic_algorithms_enabled() and _DETERMINISTIC in torch._inductor.list_options():
            options[_DETERMINISTIC] = True
        self._compiled = torch.compile(network, dynamic=False, options=options)
        self.is_compiled = True

    def __call__(self, x: Tensor) -> SegmentationOutput:
        """Map (B, C, X, Y, Z) to what `network` returns."""
        if not self.is_compiled:
            return cast(SegmentationOutput, self.network(x))
        try:
            with _errors_in_the_call():
                return cast(SegmentationOutput, self._compiled(x))
        except (TorchDynamoException, FailOnRecompileLimitHit) as error:
            message = _reason(error)
        output = cast(SegmentationOutput, self.network(x))  # raises errors of the network's own
        self.is_compiled = False
        print_message(message)
        return output


@contextmanager
def _errors_in_the_call() -> Iterator[None]:
    """Make torch raise every error of compilation in the forward call, where it can be caught.

    By default Dynamo, at its limit, executes further versions of a function uncompiled without a message, and the
    gradients are compiled when `backward` is first called. These settings have no public equivalent. torch keeps them
    for each thread, so they are set around the call.
    """
    dynamo, gradients = torch._dynamo.config, torch._functorch.config
    limit, name = max(MOST_GRAPHS, dynamo.recompile_limit), "force_non_lazy_backward_lowering"
    at_once = {name: True} if hasattr(gradients, name) else {}
    with dynamo.patch(recompile_limit=limit, fail_on_recompile_limit_hit=True), gradients.patch(at_once):
        yield


def _reason(error: Exception) -> str:
    cause: BaseException = error
    while cause.__cause__ is not None:
        cause = cause.__cause__
    lines = [line.strip() for line in str(cause).splitlines()]
    reason = next((line for line in lines if line and not line.endswith("raised:")), type(cause).__name__)
    return (
        f"the network cannot be compiled ({reason}) and is executed as it is, which is slower on a GPU; "
        "set trainer.compile=false to omit the attempt"
    )
