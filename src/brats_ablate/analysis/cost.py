"""What a column costs (parameters, arithmetic, time, memory), from manifests and epoch records; beside the scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from brats_ablate.analysis.gather import RunSummary


@dataclass(frozen=True)
class Cost:
    """Cost of one column; a field is None where the records do not say."""

    parameters: int | None
    gflops: float | None
    """Per training patch, forward."""
    seconds_per_step: float | None
    """Training alone, without validation; mean over runs."""
    hours_per_run: float | None
    """Of finished runs."""
    hours: float | None
    """Of all runs, whatever became of them."""
    device_hours: float | None
    """`hours` times the devices of each run."""
    peak_memory_gib: float | None
    runs: int
    finished: int
    device: str | None


def cost_of(runs: Sequence[RunSummary]) -> Cost:
    """Sum up an experiment's runs."""
    finished = [run for run in runs if run.is_finished]
    timed = [run for run in runs if run.seconds and run.steps]
    peak = _numbers(runs, "peak_memory_bytes")
    return Cost(
        parameters=int(numbers[0]) if (numbers := _numbers(runs, "parameters")) else None,
        gflops=numbers[0] if (numbers := _numbers(runs, "gflops")) else None,
        seconds_per_step=fmean(run.training_seconds / run.steps for run in timed) if timed else None,
        hours_per_run=fmean(run.seconds for run in finished) / 3600 if finished else None,
        hours=sum(run.seconds for run in runs) / 3600 if runs else None,
        device_hours=sum(run.seconds * _devices(run) for run in runs) / 3600 if runs else None,
        peak_memory_gib=max(peak) / 2**30 if peak else None,
        runs=len(runs),
        finished=len(finished),
        device=", ".join(sorted({_device(run) for run in runs} - {""})) or None,
    )


def _numbers(runs: Sequence[RunSummary], key: str) -> list[float]:
    found: list[Any] = [run.manifest.get(key) for run in runs]
    found += [row.get(key) for run in runs for row in run.metrics[-1:]]
    return [float(value) for value in found if isinstance(value, int | float)]


def _hardware(run: RunSummary) -> dict[str, Any]:
    hardware = run.manifest.get("hardware")
    return hardware if isinstance(hardware, dict) else {"device": str(hardware or "")}


def _devices(run: RunSummary) -> int:
    hardware = _hardware(run)
    return int(hardware.get("world_size") or hardware.get("devices") or 1)


def _device(run: RunSummary) -> str:
    return str(_hardware(run).get("device") or "")
