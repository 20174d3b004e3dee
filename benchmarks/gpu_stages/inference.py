"""One whole case: sliding window and whole volume, compiled and not, with and without flips; reading beside it."""

from __future__ import annotations

import io
import sys
from contextlib import redirect_stderr
from typing import Any

import torch

from brats_ablate.data.store import CaseStore
from brats_ablate.inference.tta import FlipTTA
from brats_ablate.jobs.build_inference import build_predictor, volume_loader
from brats_ablate.runtime.memory import reset_peak_memory
from gpu_stages.common import Options, build, compose, milliseconds, peak_gib, relative_error, small

WINDOWS = {
    "window": ("sliding_window", False),
    "window compiled": ("sliding_window", True),
    "whole volume": ("whole_volume", False),
}


def measure(options: Options, words: list[str]) -> dict[str, Any]:
    """Return milliseconds per case."""
    said = io.StringIO()
    with redirect_stderr(said):
        results = {}
        for name, window in WINDOWS.items():
            results[name] = _measure_one(options, *window)
            options.keep({key: found for key, (found, _) in results.items()})
    print(said.getvalue(), file=sys.stderr)
    is_compiled = "cannot be compiled" not in said.getvalue()
    outputs = {name: output for name, (_, output) in results.items()}
    difference = relative_error(outputs["window compiled"], outputs["window"])
    times = {name: found for name, (found, _) in results.items()}
    found = {"is_compiled": is_compiled, "compiled_difference": difference}
    return times | found | {"ok": is_compiled and difference < 2e-2}


def _measure_one(options: Options, window: str, compiled: bool) -> tuple[dict[str, float], torch.Tensor]:
    # Windows below 64³ are batched on a CPU, and each size of a batch is compiled by itself.
    tiny = ["encoder.channels=[8,16]", "supervision=none", "patches.shape=[64,64,64]"]
    network = ["+experiment=ds", *(tiny if options.tiny else small(options))]
    cfg = compose(*network, f"inference={window}", f"paths.prepared={options.prepared}")
    model, precision = build(options, cfg)
    model.eval()
    reset_peak_memory(options.device)
    store, count = CaseStore(options.prepared), 1 if options.tiny else 3
    case_id = store.case_ids[0]
    load = volume_loader(cfg, store, options.device)
    predict = build_predictor(cfg, model, precision, compiled=compiled)
    with torch.inference_mode():
        volume, _ = load(case_id)
        found = {"ms": round(milliseconds(lambda: predict(volume), count, 1), 1)}
        if not options.tiny:
            found["8 flips ms"] = round(milliseconds(lambda: FlipTTA()(predict, volume), 2, 1), 1)
        found |= {"gib": peak_gib(), "read ms": round(milliseconds(lambda: load(case_id), count, 1), 1)}
        return found, predict(volume)
