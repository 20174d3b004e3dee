"""The recommended and the largest network of the paper by batch size, compiled: time and memory."""

from __future__ import annotations

from typing import Any

from brats_ablate.models.compilation import CompiledNetwork
from gpu_stages.common import Options, batch_of, build, compose, milliseconds, peak_gib, reset_peak, small, step_of


def measure(options: Options, words: list[str]) -> dict[str, Any]:
    """Return milliseconds, images per second and GiB for each network and batch size."""
    batches = (2,) if options.tiny else (1, 2, 4)
    networks = ("ds", "ds_deeper_channels_onehot")
    return {f"{name} batch {batch}": _measure_one(options, name, batch) for name in networks for batch in batches}


def _measure_one(options: Options, name: str, batch: int) -> dict[str, float]:
    cfg = compose(f"+experiment={name}", *small(options))
    reset_peak()
    model, precision = build(options, cfg)
    step = step_of(cfg, model, precision, CompiledNetwork(model) if options.on_gpu else model)
    images, labels = batch_of(options, cfg, batch)
    ms = milliseconds(lambda: step(images, labels), 1 if options.tiny else 8, 1 if options.tiny else 3)
    return {"ms": round(ms, 1), "images_s": round(1e3 * batch / ms, 1), "gib": peak_gib()}
