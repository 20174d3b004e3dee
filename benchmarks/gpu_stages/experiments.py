"""Every experiment of the command line, or every fourth if it is tiny: one AMP step as trained, its loss, time and memory."""

from __future__ import annotations

import math
from typing import Any

from gpu_stages.common import ROOT, Options, batch_of, build, compose, milliseconds, peak_gib, reset_peak, step_of


def measure(options: Options, words: list[str]) -> dict[str, Any]:
    """Return loss, milliseconds per step and GiB of each experiment."""
    found: dict[str, Any] = {"ok": True}
    files = sorted((ROOT / "conf" / "experiment").glob("*.yaml"))
    for file in files[::4] if options.tiny else files:
        try:
            found[file.stem] = _measure_one(options, file.stem)
            found["ok"] &= math.isfinite(found[file.stem]["loss"]) and "without_gradient" not in found[file.stem]
        except Exception as error:  # one that fails must not hide the others
            found[file.stem] = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:150]}"
            found["ok"] = False
    return found


def _measure_one(options: Options, name: str) -> dict[str, Any]:
    experiment = f"+experiment={name}"
    cfg = compose(experiment, *(_least(experiment) if options.tiny else []))
    reset_peak()
    model, precision = build(options, cfg)
    model.train()
    step = step_of(cfg, model, precision, model)
    images, labels = batch_of(options, cfg, 1 if options.tiny else 2)
    found: dict[str, Any] = {"loss": round(float(step(images, labels)), 3)}
    idle = [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None]
    if not options.tiny:
        found["ms"] = round(milliseconds(lambda: step(images, labels), 4, 1), 1)
    found["gib"] = peak_gib()
    return found | ({"without_gradient": idle[:3]} if idle else {})


def _least(experiment: str) -> list[str]:
    """Return the overrides of a thin network and of its least patch: one voxel at the bottom, two along Z."""
    edge = 2 ** (len(compose(experiment).encoder.channels) - 1)
    return ["encoder.width=0.0625", f"patches.shape=[{edge},{edge},{2 * edge}]"]
