"""One training step of the paper's baseline with batch 2: ours, nnU-Net's and MONAI's networks, compiled or not.

nnU-Net has the settings of its trainer: fp16, loss scaling, clipping at norm 12, contiguous layout. cuDNN measures its
algorithms for all. Loss and convolutions are the same.
"""

from __future__ import annotations

import importlib.util
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from brats_ablate.runtime.memory import reset_peak_memory
from gpu_stages.common import Options, milliseconds, peak_gib
from measuring import print_result

GFLOP_PER_IMAGE = 965.5
"""Forward pass of the baseline at 128³; a training step takes three times as much."""


def measure(options: Options, words: list[str]) -> dict[str, Any]:
    """Return times and memory of the contender that `words` describe."""
    if words[0] == "nnunet" and importlib.util.find_spec("dynamic_network_architectures") is None:
        return {"skipped": "dynamic-network-architectures is not installed"}
    batch = next((int(word[6:]) for word in words if word.startswith("batch=") and not options.tiny), 2)
    reset_peak_memory(options.device)
    step, forward = contender(options, words, batch)
    started = time.perf_counter()
    step()
    if options.on_gpu:
        torch.cuda.synchronize()
    first_step_s = round(time.perf_counter() - started, 1)
    if options.compile_only:
        forward()
        return {"first_step_s": first_step_s}
    count, warm_up = (1, 0) if options.tiny else (20, 5)
    times = sorted(milliseconds(step, count, warm_up) for _ in range(3))
    median = statistics.median(times)
    found = {
        "step_ms": round(median, 2),
        "range_ms": f"{times[0]:.2f}-{times[-1]:.2f}",
        "images_s": round(1e3 * batch / median, 1),
        "peak_gib": peak_gib(),
        "first_step_s": first_step_s,
    }
    if options.tiny:  # whose compilation of another function would take longer than all else
        return found
    forward_ms = round(milliseconds(forward, count, warm_up), 2)
    return found | {"forward_ms": forward_ms, "tflop_s": round(3 * GFLOP_PER_IMAGE * batch / median)}


def contender(options: Options, words: list[str], batch: int) -> tuple[Callable[[], None], Callable[[], None]]:
    """Return the training step and the forward pass of a contender, e.g. ours compiled."""
    import networks
    from brats_ablate.models import kernels
    from brats_ablate.models.base import to_device
    from brats_ablate.models.norm import restore_norms
    from brats_ablate.training.precision import Precision

    kind = {"ours": networks.OURS, "nnunet": networks.NNUNET, "monai": networks.MONAI}[words[0]]
    is_ours, is_nnunet = words[0] == "ours", words[0] == "nnunet"
    edge = options.edge
    tiny_levels = 3 if words[0] == "monai" else 2  # DynUNet has at least three
    model = networks.build(kind, edge, 0.25, levels=tiny_levels) if options.tiny else networks.build(kind, edge)
    if "native_norm" in words:
        restore_norms(model)
    if is_ours:
        kernels.enable(model)
        if "unpacked" not in words:
            kernels.enable_packing(model)
    layout = torch.channels_last_3d if is_ours else torch.contiguous_format
    to_device(model, options.device, layout)
    torch.backends.cudnn.benchmark = "unmeasured" not in words
    dtype = torch.float16 if is_nnunet and options.on_gpu else torch.bfloat16
    # A CPU without 16-bit instructions convolves one value at a time.
    mixed = torch.autocast(options.device.type, dtype, Precision.resolve("auto", options.device).name != "fp32")
    how = {"dynamic": False, "options": {"fallback_random": True}} if is_ours else {}
    network = torch.compile(model, **how) if "compiled" in words else model
    optimizer, loss_of = networks.optimizer_of(kind, model.parameters()), networks.region_loss()
    scaler = torch.amp.GradScaler(options.device.type, enabled=dtype == torch.float16)
    images = torch.randn(batch, 4, edge, edge, edge, device=options.device).to(memory_format=layout)
    labels = torch.randint(0, 4, (batch, edge, edge, edge), device=options.device, dtype=torch.uint8)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        with mixed:
            loss = loss_of(network(images), labels)
        scaler.scale(loss).backward()
        if is_nnunet:
            scaler.unscale_(optimizer)
            torch.nn.utils.clip_grad_norm_(model.parameters(), 12)
        scaler.step(optimizer)
        scaler.update()

    def forward() -> None:
        with torch.no_grad(), mixed:
            network(images)

    return step, forward


def measure_one(words: list[str], tiny: bool) -> dict[str, Any]:
    """Measure a contender outside of `gpu.py`."""
    return measure(Options(Path(), Path(), tiny), words)


if __name__ == "__main__":
    print_result(measure_one)
