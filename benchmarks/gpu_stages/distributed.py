"""NCCL with one rank, which is what one GPU can show: that DDP trains, and what it costs; plain and compiled."""

from __future__ import annotations

import os
import socket
from typing import Any
from unittest.mock import patch

import torch.distributed as dist

from brats_ablate.models.compilation import CompiledNetwork
from brats_ablate.training.distributed import DistributedContext
from gpu_stages.common import Options, batch_of, build, compose, milliseconds, small, step_of


def measure(options: Options, words: list[str]) -> dict[str, Any]:
    """Return milliseconds per step alone and in DDP."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    group = {"RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    with patch.dict(os.environ, group):  # the next stages in this process are not of the group
        backend, device = ("nccl", options.device) if options.on_gpu else ("gloo", None)
        dist.init_process_group(backend, device_id=device)
        control = dist.new_group(backend="gloo")
        ranks = DistributedContext(0, 2, control)  # as one of two, so that it wraps; the group has one member
        found: dict[str, Any] = {"ok": True, "backend": backend, "flags": list(ranks.any(True, False))}
        cfg = compose("+experiment=ds", *small(options))
        for name in ("alone", "ddp") if options.tiny else ("alone", "ddp", "ddp compiled"):
            found[name] = one = _measure_one(options, cfg, ranks, name)
            found["ok"] &= one.get("is_compiled", True)
            options.keep(found)
        dist.destroy_process_group()
    return found


def _measure_one(options: Options, cfg: Any, ranks: DistributedContext, name: str) -> dict[str, Any]:
    model, precision = build(options, cfg)
    network: Any = model if name == "alone" else ranks.wrap(model, options.device)
    network = CompiledNetwork(network) if "compiled" in name else network
    images, labels = batch_of(options, cfg, 2)
    step = step_of(cfg, model, precision, network)
    found: dict[str, Any] = {"ms": round(milliseconds(lambda: step(images, labels), 1 if options.tiny else 10, 3), 2)}
    return found | ({"is_compiled": network.is_compiled} if "compiled" in name else {})
