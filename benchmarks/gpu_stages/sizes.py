"""A network of the paper by batch size, compiled: time and memory. Each network is a stage, as it is compiled three times."""

from __future__ import annotations

from typing import Any

from brats_ablate.models.compilation import CompiledNetwork
from brats_ablate.runtime.memory import reset_peak_memory
from gpu_stages.common import Options, batch_of, build, compose, milliseconds, peak_gib, small, step_of


def measure(options: Options, words: list[str]) -> dict[str, Any]:
    """Return milliseconds, images per second and GiB of the experiment that is named, for each batch size."""
    found: dict[str, Any] = {"ok": True}
    for batch in (2,) if options.tiny else (1, 2, 4):
        found[f"batch {batch}"] = one = _measure_one(options, words[0], batch)
        found["ok"] &= one["is_compiled"] or not options.on_gpu
        options.keep(found)
    return found


def _measure_one(options: Options, name: str, batch: int) -> dict[str, Any]:
    cfg = compose(f"+experiment={name}", *small(options))
    reset_peak_memory(options.device)
    model, precision = build(options, cfg)
    compiled = CompiledNetwork(model) if options.on_gpu else None
    step = step_of(cfg, model, precision, compiled or model)
    images, labels = batch_of(options, cfg, batch)
    ms = milliseconds(lambda: step(images, labels), 1 if options.tiny else 8, 1 if options.tiny else 3)
    is_compiled = compiled is not None and compiled.is_compiled
    return {
        "ms": round(ms, 1), "images_s": round(1e3 * batch / ms, 1), "gib": peak_gib(), "is_compiled": is_compiled
    }  # fmt: skip
