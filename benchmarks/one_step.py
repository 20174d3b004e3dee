"""Measure training steps and forward passes of one network in one setting on a CPU, in its own process."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch

from brats_ablate.models import kernels
from brats_ablate.models.base import to_device
from brats_ablate.models.norm import restore_norms
from brats_ablate.runtime.memory import disable_malloc_trim
from brats_ablate.training.precision import Precision
from measuring import print_result, resident_gib
from networks import OURS, build, optimizer_of, region_loss


def measure(
    network: str,
    precision: str,
    channels_last: bool,
    keep_memory: bool,
    batch: int,
    patch: int,
    native_norm: bool = False,
    width: float = 1.0,
) -> dict[str, Any]:
    """Return the medians of `step_s` and `forward_s`, `memory_gib`, and the `precision` that was used."""
    if keep_memory:
        disable_malloc_trim()
    device = torch.device("cpu")
    number_format = Precision.resolve(precision, device)
    model = build(network, patch, width)
    if native_norm:
        restore_norms(model)
    if network == OURS:
        number_format.force_fp32_on_flat_inputs(model)
        kernels.enable(model)
    layout = torch.channels_last_3d if channels_last else torch.contiguous_format
    to_device(model, device, layout)
    images = torch.randn(batch, 4, patch, patch, patch, device=device).to(memory_format=layout)
    labels = torch.randint(0, 4, (batch, patch, patch, patch), device=device).to(torch.uint8)
    optimizer, loss_of = optimizer_of(network, model.parameters()), region_loss()

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        with number_format.autocast():
            loss = loss_of(model(images), labels)
        loss.backward()
        optimizer.step()

    def forward() -> None:
        with torch.no_grad(), number_format.autocast():
            model(images)

    times = {"step_s": _timed(step)}
    memory = resident_gib()
    times["forward_s"] = _timed(forward)
    return times | {"memory_gib": memory, "precision": number_format.name}


def _timed(work: Callable[[], None]) -> float:
    """Return the median seconds of up to 3 calls within 8 s, after 3 calls: the heap reaches its final size by then."""
    for _ in range(3):
        work()
    times: list[float] = []
    while len(times) < 3 and sum(times) < 8:
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return statistics.median(times)


if __name__ == "__main__":
    print_result(measure)
