"""`job=train` as a user starts it, and how long the GPU waits in it: patches per second, phases, memory, an epoch.

The share of time in which no kernel runs is measured on further steps of the same trainer, by torch's profiler.
"""

from __future__ import annotations

import time
from typing import Any

import torch

from gpu_stages.common import Options, command, compose, data_of, folds, peak_gib, rows_of, small

TRAINING_CASES, VALIDATION_CASES, BATCH = 1000, 251, 2
"""Of fold 0 of BraTS 2021."""
NVIDIA_EPOCH_S = 175
"""Of the paper's authors, on one A100, with eight for a run (PAPER)."""


def measure(options: Options, words: list[str]) -> dict[str, Any]:
    """Return what the second epoch of a run took, and an epoch of fold 0 extrapolated from it."""
    crops, work = (2, 3) if options.tiny else (40, 80), "training_" + "_".join(words)
    more = ["trainer.compile=false"] if "eager" in words else [f"trainer.compile={str(options.on_gpu).lower()}"]
    run = ["+experiment=baseline", "trainer.validate_every=2", "inference=sliding_window_without_tta", *more]
    epochs = 2 if options.tiny else 3
    code, said, wall_s = command(options, work, *run, f"trainer.crops_per_case={crops[0]}", f"trainer.epochs={epochs}")
    if code:
        return {"ok": False, "said": said[-800:]}
    rows = rows_of(options, work)
    steady, validated = rows[1], rows[1]
    phases = {name[8:]: s for name, s in steady.items() if name.startswith("seconds/") and "validation" not in name}
    total = sum(phases.values())
    steps = steady["step"] - rows[0]["step"]
    cases = len(folds(options)[0])
    validation_s = validated["seconds/validation"] / cases
    epoch_s = total / steps * TRAINING_CASES / BATCH + validation_s * VALIDATION_CASES
    found = {
        "patches_s": round(steady["patches_per_second"], 1),
        "step_ms": round(1e3 * total / steps, 2),
        "shares": {name: round(s / total, 4) for name, s in phases.items()},
        "peak_gib": round(steady["peak_memory_bytes"] / 2**30, 2),
        "validation_s_per_case": round(validation_s, 3),
        "epoch_s_extrapolated": round(epoch_s, 1),
        "loss": steady["loss"],
        "wall_s": round(wall_s, 1),
    }
    return found | _waiting(options, [*run, "trainer.crops_per_case=40", "trainer.epochs=1"], work)


def _waiting(options: Options, overrides: list[str], work: str) -> dict[str, Any]:
    """Return the share of the time of further steps in which no kernel runs, and the host's time per step."""
    from torch.profiler import ProfilerActivity

    from brats_ablate.jobs.train.setup import build_trainer
    from brats_ablate.launch.sweep import run_directory
    from brats_ablate.training.distributed import DistributedContext
    from brats_ablate.training.profiling import busy_share

    if not options.on_gpu:
        return {}
    cfg = compose(*overrides, *data_of(options), *small(options))
    cfg.paths.runs = str(options.work / f"{work}_profiled")
    directory = run_directory(cfg)
    warm_up, steps = 15, 20
    with build_trainer(cfg, directory, options.device, DistributedContext()) as trainer:
        trainer.model.train()
        trainer.timer.start()
        batches = trainer.loader.epoch(0)
        for _ in range(warm_up):
            trainer.training_step(next(batches))
        torch.cuda.synchronize()
        with torch.profiler.profile(activities=[ProfilerActivity.CUDA]) as profiler:
            started = time.perf_counter()
            for _ in range(steps):
                trainer.training_step(next(batches))
            host_s = time.perf_counter() - started
            torch.cuda.synchronize()
            wall_s = time.perf_counter() - started
    spans = [(e.time_range.start, e.time_range.end) for e in profiler.events() if e.device_type.name == "CUDA"]
    top = sorted(profiler.key_averages(), key=lambda e: -e.self_device_time_total)[:25]
    return {
        "idle_share": round(1 - busy_share(spans, 1e6 * wall_s), 4),
        "profiled_step_ms": round(1e3 * wall_s / steps, 2),
        "host_ms": round(1e3 * host_s / steps, 2),
        "kernels": [[e.key[:110], e.count // steps, round(e.self_device_time_total / steps / 1e3, 3)] for e in top],
        "profiled_peak_gib": peak_gib(),
    }
