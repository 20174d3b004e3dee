"""The recommended and the largest network of the paper by batch size, compiled: time and memory."""

from __future__ import annotations

from typing import Any

from brats_ablate.models.compilation import CompiledNetwork
from gpu_stages.common import Options, batch_of, build, compose, milliseconds, peak_gib, reset_peak, small, step_of


def measure(options: Options, words: list[str]) -> dict[str, Any]:
    """Return milliseconds, images per second and GiB for each network and batch size."""
    found: dict[str, Any] = {}
    for name in ("ds", "ds_deeper_channels_onehot"):
        for batch in (2,) if options.tiny else (1, 2, 4):
            cfg = compose(f"+experiment={name}", *small(options))
            reset_peak()
            model, precision = build(options, cfg)
            network = CompiledNetwork(model) if options.on_gpu else model
            step = step_of(cfg, model, precision, network)
            images, labels = batch_of(options, cfg, batch)
            ms = milliseconds(lambda: step(images, labels), 1 if options.tiny else 8, 3)  # noqa: B023  # called at once
            result = {"ms": round(ms, 1), "images_s": round(1e3 * batch / ms, 1), "gib": peak_gib()}
            found[f"{name} batch {batch}"] = result
            del model, network, step, images, labels
    return found
