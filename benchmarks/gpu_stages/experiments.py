"""Every experiment of the command line: one AMP step as trained, its loss, time and memory."""

from __future__ import annotations

import math
from typing import Any

from gpu_stages.common import ROOT, Options, batch_of, build, compose, milliseconds, peak_gib, reset_peak, step_of


def measure(options: Options, words: list[str]) -> dict[str, Any]:
    """Return loss, milliseconds per step and GiB of each experiment."""
    found: dict[str, Any] = {"ok": True}
    for file in sorted((ROOT / "conf" / "experiment").glob("*.yaml")):
        tiny = ["encoder.width=0.25", "patches.shape=[64,64,64]"] if options.tiny else []
        try:
            cfg = compose(f"+experiment={file.stem}", *tiny)
            reset_peak()
            model, precision = build(options, cfg)
            model.train()
            model.set_step(0)
            step = step_of(cfg, model, precision, model)
            images, labels = batch_of(options, cfg, 1 if options.tiny else 2)
            loss = float(step(images, labels))
            idle = [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None]
            ms = 0.0 if options.tiny else milliseconds(lambda: step(images, labels), 4, 1)  # noqa: B023  # called at once
            found[file.stem] = {"loss": round(loss, 3), "ms": round(ms, 1), "gib": peak_gib()}
            if idle:
                found[file.stem]["without_gradient"] = idle[:3]
            found["ok"] &= math.isfinite(loss) and not idle
        except Exception as error:  # one that fails must not hide the others
            found[file.stem] = f"{type(error).__name__}: {str(error).splitlines()[0][:150]}"
            found["ok"] = False
        model = step = images = labels = None  # frees the memory before the next
    return found
