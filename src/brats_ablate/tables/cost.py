"""What a column costs (parameters, arithmetic, time, memory), from manifests and epoch records; beside the scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from brats_ablate.tables.run_summary import RunSummary


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
    devices = sorted({str(found) for run in runs if (found := run.manifest.get("hardware"))})
    peaks = [row["peak_memory_bytes"] for run in runs for row in run.metrics if row.get("peak_memory_bytes")]
    return Cost(
        parameters=int(numbers[0]) if (numbers := _numbers(runs, "parameters")) else None,
        gflops=numbers[0] if (numbers := _numbers(runs, "gflops")) else None,
        seconds_per_step=fmean(run.training_seconds / run.steps for run in timed) if timed else None,
        hours_per_run=fmean(run.seconds for run in finished) / 3600 if finished else None,
        hours=sum(run.seconds for run in runs) / 3600 if runs else None,
        device_hours=sum(run.seconds * _devices(run) for run in runs) / 3600 if runs else None,
        peak_memory_gib=max(peaks) / 2**30 if peaks else None,
        runs=len(runs),
        finished=len(finished),
        device=", ".join(devices) or None,
    )


def _numbers(runs: Sequence[RunSummary], key: str) -> list[float]:
    """What the manifests say of `key`; older ones lack some."""
    found = [run.manifest.get(key) for run in runs]
    return [float(value) for value in found if isinstance(value, int | float)]


def _devices(run: RunSummary) -> int:
    """Every process of a run has a device of its own."""
    return int(run.manifest.get("world_size") or 1)
