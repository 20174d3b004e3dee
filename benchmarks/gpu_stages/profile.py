"""Where the time of a step goes, kernel by kernel: what the next optimization needs to know."""

from __future__ import annotations

import importlib.util
from typing import Any

import torch
from torch.profiler import ProfilerActivity

from gpu_stages.common import Options
from gpu_stages.step import contender

STEPS = 3
SHOWN = 30


def measure(options: Options, words: list[str]) -> dict[str, Any]:
    """Return the kernels that take longest: name, calls and milliseconds per step."""
    if words[0] == "nnunet" and importlib.util.find_spec("dynamic_network_architectures") is None:
        return {"skipped": "dynamic-network-architectures is not installed"}
    step, _ = contender(options, words, batch=2)
    for _ in range(1 if options.tiny else 5):
        step()
    activity = ProfilerActivity.CUDA if options.on_gpu else ProfilerActivity.CPU
    with torch.profiler.profile(activities=[activity]) as profiler:
        for _ in range(STEPS):
            step()
        if options.on_gpu:
            torch.cuda.synchronize()
    own = "self_device_time_total" if options.on_gpu else "self_cpu_time_total"
    events = sorted(profiler.key_averages(), key=lambda event: -getattr(event, own))
    total = sum(getattr(event, own) for event in events) / STEPS / 1e3
    rows = [[e.key[:110], e.count // STEPS, round(getattr(e, own) / STEPS / 1e3, 3)] for e in events[:SHOWN]]
    return {"kernels_ms": round(total, 2), "top": rows}
