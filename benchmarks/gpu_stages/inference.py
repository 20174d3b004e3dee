"""One whole case: sliding window and whole volume, compiled and not, with and without flips; reading beside it."""

from __future__ import annotations

from typing import Any

import torch

from brats_ablate.data.store import CaseStore
from brats_ablate.inference.tta import FlipTTA
from brats_ablate.jobs import build as jobs_build
from gpu_stages.common import Options, build, compose, milliseconds, peak_gib, relative_error, reset_peak, small


def measure(options: Options, words: list[str]) -> dict[str, Any]:
    """Return milliseconds per case."""
    store, found = CaseStore(options.prepared), {}
    kept: dict[str, torch.Tensor] = {}
    for name, window, compiled in (
        ("window", "sliding_window", False),
        ("window compiled", "sliding_window", True),
        ("whole volume", "whole_volume", False),
    ):
        cfg = compose("+experiment=ds", f"inference={window}", f"paths.prepared={options.prepared}", *small(options))
        model, precision = build(options, cfg)
        model.eval()
        reset_peak()
        load = jobs_build.volume_loader(cfg, store, options.device)
        predict = jobs_build.build_predictor(cfg, model, precision, compiled=compiled)
        with torch.inference_mode():
            volume, _ = load(store.case_ids[0])
            count = 1 if options.tiny else 3
            found[f"{name} ms"] = round(milliseconds(lambda: predict(volume), count, 1), 1)
            kept[name] = predict(volume)
            if not options.tiny:
                found[f"{name}, 8 flips ms"] = round(milliseconds(lambda: FlipTTA()(predict, volume), 2, 1), 1)
            found[f"{name} peak_gib"] = peak_gib()
            found["read ms"] = round(milliseconds(lambda: load(store.case_ids[0]), 3, 1), 1)
    found["compiled_difference"] = relative_error(kept["window compiled"], kept["window"])
    found["ok"] = found["compiled_difference"] < 2e-2
    return found
