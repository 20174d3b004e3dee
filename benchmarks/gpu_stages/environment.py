"""Versions, the card, and its two ceilings: matrix products and copies."""

from __future__ import annotations

import os
from importlib.metadata import version
from typing import Any

from gpu_stages.common import Options, milliseconds


def measure(options: Options, words: list[str]) -> dict[str, Any]:
    """Return versions, and TFLOP/s and TB/s on a GPU."""
    import torch

    import brats_ablate.jobs.train.setup  # noqa: F401  # all that training imports, so that a missing package fails here

    found: dict[str, Any] = {
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "cpus": len(os.sched_getaffinity(0)),
    }
    found |= {name: version(name) for name in ("numpy", "numba", "monai", "blosc2")}
    if not options.on_gpu:
        return found | {"device": "cpu"}
    properties = torch.cuda.get_device_properties(options.device)
    left = torch.randn(8192, 8192, device=options.device, dtype=torch.bfloat16)
    source = torch.randint(0, 255, (2**31,), device=options.device, dtype=torch.uint8)
    target = torch.empty_like(source)
    return found | {
        "device": properties.name,
        "gib": round(properties.total_memory / 2**30, 1),
        "cudnn": torch.backends.cudnn.version(),
        "matmul_tflop_s": round(2 * 8192**3 / milliseconds(lambda: left @ left, 10) / 1e9),
        "copy_tb_s": round(2 * source.numel() / milliseconds(lambda: target.copy_(source), 10) / 1e9, 2),
    }
