"""Training as `job=train` builds it: patches per second, the time in which the GPU waits, validation, memory, an epoch.

The phases of the steps come from events in the GPU's queue, the share of time in which no kernel runs from torch's
profiler, in further steps of the same trainer.
"""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import replace
from itertools import chain
from typing import TYPE_CHECKING, Any

import torch

from gpu_stages.common import Options, compose, data_of, peak_gib, small

if TYPE_CHECKING:
    from collections.abc import Iterator

    from brats_ablate.cases import Patch
    from brats_ablate.training.trainer import Trainer

TRAINING_CASES, VALIDATION_CASES, BATCH = 1000, 251, 2
"""Of fold 0 of BraTS 2021."""


def measure(options: Options, words: list[str]) -> dict[str, Any]:
    """Return what training steps and a validation take, and an epoch of fold 0 extrapolated from them."""
    from brats_ablate.jobs.train.setup import build_trainer
    from brats_ablate.launch.sweep import run_directory
    from brats_ablate.training.distributed import DistributedContext

    crops = f"trainer.crops_per_case={4 if options.tiny else 400}"
    inference = "inference=sliding_window_without_tta"
    cfg = compose("+experiment=baseline", crops, inference, data_of(options), *small(options))
    cfg.paths.runs = str(options.work / "training")
    warm_up, count, profiled = (1, 1, 0) if options.tiny else (10, 60, 20)
    with build_trainer(cfg, run_directory(cfg), options.device, DistributedContext()) as trainer:
        with closing(trainer.loader.epoch(0)) as epoch:
            batches = chain(epoch)
            first_step_s = _seconds(trainer, batches, 1)
            if options.compile_only:
                _validation_s(trainer)
                return {"first_step_s": first_step_s}
            _seconds(trainer, batches, warm_up)
            trainer.timer.flush()
            seconds = _seconds(trainer, batches, count)
            phases = trainer.timer.flush()
            peak, loss = peak_gib(), float(trainer.pending[-1].values["loss"])
            waiting = _waiting(trainer, batches, profiled) if options.on_gpu else {}
        _validation_s(trainer)
        validation_s = _validation_s(trainer)
    is_compiled = getattr(trainer.network, "is_compiled", False)
    return {
        "ok": is_compiled or not options.on_gpu,
        "step_ms": round(1e3 * seconds / count, 2),
        "patches_s": round(BATCH * count / seconds, 1),
        "shares": {name: round(s / sum(phases.values()), 4) for name, s in phases.items()},
        "peak_gib": peak,
        "validation_s_per_case": round(validation_s, 3),
        "epoch_s_extrapolated": round(seconds / count * TRAINING_CASES / BATCH + validation_s * VALIDATION_CASES, 1),
        "first_step_s": round(first_step_s, 1),
        "loss": round(loss, 3),
        "is_compiled": is_compiled,
        **waiting,
    }


def _seconds(trainer: Trainer, batches: Iterator[list[Patch]], count: int) -> float:
    """Return the time of `count` steps as the trainer takes them."""
    trainer.model.train()
    _synchronize()
    started = time.perf_counter()
    trainer.timer.start()
    for _ in range(count):
        trainer.training_step(next(batches))
    _synchronize()
    return time.perf_counter() - started


def _waiting(trainer: Trainer, batches: Iterator[list[Patch]], count: int) -> dict[str, Any]:
    """Return the share of the time in which no kernel runs, the host's time per step, and the longest kernels."""
    from brats_ablate.training.profiling import busy_share

    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profiler:
        _synchronize()
        started = time.perf_counter()
        for _ in range(count):
            trainer.training_step(next(batches))
        host_s = time.perf_counter() - started
        _synchronize()
        wall_s = time.perf_counter() - started
    kernels = [
        e for e in profiler.events() if e.device_type == torch.autograd.DeviceType.CUDA and "Memcpy" not in e.name
    ]
    spans = [(event.time_range.start, event.time_range.end) for event in kernels]
    longest = sorted(profiler.key_averages(), key=lambda event: -event.self_device_time_total)[:30]
    return {
        "idle_share": round(1 - busy_share(spans, 1e6 * wall_s), 4),
        "profiled_step_ms": round(1e3 * wall_s / count, 2),
        "host_ms": round(1e3 * host_s / count, 2),
        "kernels": [[e.key[:110], e.count // count, round(e.self_device_time_total / count / 1e3, 3)] for e in longest],
    }


def _validation_s(trainer: Trainer) -> float:
    """Return the time per case of a validation of one case."""
    trainer.model.eval()
    validation = replace(trainer.validation, case_ids=trainer.validation.case_ids[:1])
    result = validation.run(trainer.ranks, lambda: False)
    assert result is not None
    return result.seconds


def _synchronize() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
