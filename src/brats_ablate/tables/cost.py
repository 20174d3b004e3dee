"""What an experiment costs (parameters, arithmetic, time, memory), from manifests and epoch records."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from brats_ablate.tables.scores import RunSummary
from brats_ablate.tables.training_setup import recorded_values


@dataclass(frozen=True)
class Cost:
    """Cost of one experiment; a field is None where it is not recorded."""

    parameters: int | None
    gflops: float | None
    """Per training patch, forward."""
    seconds_per_step: float | None
    """Training alone, without validation; mean over runs."""
    hours_per_run: float | None
    """Of finished runs."""
    hours: float | None
    """Of all runs, finished or not."""
    device_hours: float | None
    """`hours` times the devices of each run; every process has its own."""
    peak_memory_gib: float | None
    runs: int
    finished: int


def cost_of(runs: Sequence[RunSummary]) -> Cost:
    """Sum up an experiment's runs."""
    finished = [run for run in runs if run.is_finished]
    timed = [run for run in runs if run.seconds and run.steps]
    peak = max((run.peak_memory_bytes for run in runs), default=0)
    parameters = _recorded(runs, "parameters")
    return Cost(
        parameters=None if parameters is None else int(parameters),
        gflops=_recorded(runs, "gflops"),
        seconds_per_step=fmean(run.training_seconds / run.steps for run in timed) if timed else None,
        hours_per_run=fmean(run.seconds for run in finished) / 3600 if finished else None,
        hours=sum(run.seconds for run in runs) / 3600 if runs else None,
        device_hours=sum(run.seconds * int(run.manifest.get("world_size") or 1) for run in runs) / 3600
        if runs
        else None,
        peak_memory_gib=peak / 2**30 if peak else None,
        runs=len(runs),
        finished=len(finished),
    )


def unit_of_device_hours(runs: Sequence[RunSummary]) -> str:
    """Return CPU-hours if every run was trained on a CPU, else GPU-hours."""
    devices = {str(device) for device in recorded_values(runs, "device")}
    return "CPU-hours" if devices and all(" CPU, " in device for device in devices) else "GPU-hours"


def _recorded(runs: Sequence[RunSummary], key: str) -> float | None:
    """Return the first number that a manifest has for `key`; older manifests lack some."""
    values = (run.manifest.get(key) for run in runs)
    return next((float(value) for value in values if isinstance(value, int | float)), None)
