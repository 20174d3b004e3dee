"""`job=plan`: cost of a sweep, and whether its experiments run at all, before it is submitted.

Append it to the command that you are about to submit (`-cd sweeps -cn table2 hydra/launcher=slurm_a100 job=plan`). The
numbers of runs come from the run directories; time, memory and disk from a dry run of each experiment on this machine.
"""

from __future__ import annotations

import math
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from json import loads
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from brats_ablate.errors import RunFailed
from brats_ablate.jobs.sweep.dry_run import Measurement
from brats_ablate.launch.sweep import SweepRun, plan_sweep, run_directory
from brats_ablate.runtime.files import write_json
from brats_ablate.runtime.text import align, format_duration

Measure = Callable[[DictConfig], Measurement]
"""Measures one experiment; raises RunFailed with the reason if it would fail."""


@dataclass(frozen=True)
class Estimate:
    """One experiment of the sweep. Times are what remains; None where nothing was measured."""

    experiment: str
    runs: int
    finished: int
    running: int
    epochs_left: int
    """Of all its unfinished runs together."""
    measured: Measurement | None = None
    fault: str | None = None
    """Why the dry run failed."""
    epoch_s: float | None = None
    run_s: float | None = None
    device_hours: float | None = None
    disk_bytes: int | None = None


@dataclass(frozen=True)
class SweepEstimate:
    """All experiments of a sweep, and the disk that their checkpoints are written to."""

    experiments: list[Estimate]
    ranks: int
    runs: Path
    free_bytes: int

    @property
    def needed_bytes(self) -> int:
        """Size of the checkpoints that are still to be written."""
        return sum(e.disk_bytes or 0 for e in self.experiments)

    def as_dict(self) -> dict[str, Any]:
        """Return the estimate for JSON."""
        return {
            "experiments": [asdict(e) for e in self.experiments],
            "ranks": self.ranks,
            "free_bytes": self.free_bytes,
            "needed_bytes": self.needed_bytes,
        }

    def check(self) -> None:
        """Raise RunFailed if an experiment's dry run failed, or the disk is too small."""
        failing = [e.experiment for e in self.experiments if e.fault]
        if failing:
            raise RunFailed(f"{', '.join(failing)} would fail; fix that before you submit the sweep")
        if self.needed_bytes > self.free_bytes:
            raise RunFailed(
                f"{self.runs}: {_gib(self.needed_bytes)} of checkpoints do not fit into the {_gib(self.free_bytes)} "
                "that are free; free space or set paths.work"
            )

    def format(self) -> str:
        """Return one row per experiment, the totals, and why experiments would fail."""
        unit = "CPU-hours" if {e.measured["device"] for e in self.experiments if e.measured} == {"cpu"} else "GPU-hours"
        rows = [["experiment", "runs", "finished", "running", "memory", "step", "epoch", "run", unit, "disk"]]
        rows += [_row(e) for e in self.experiments]
        runs, finished = sum(e.runs for e in self.experiments), sum(e.finished for e in self.experiments)
        ranks = f"{self.ranks} rank{'s' if self.ranks > 1 else ''} each"
        lines = [align(rows), "", f"{runs} runs, {finished} finished, {runs - finished} to do, {ranks}"]
        if any(e.measured for e in self.experiments):
            hours = sum(e.device_hours or 0 for e in self.experiments)
            lines.append(f"{hours:,.1f} {unit}, measured on this machine; assumes that ranks share the work evenly")
            free = f"{_gib(self.free_bytes)} are free at {self.runs}"
            too_small = ": too little" if self.needed_bytes > self.free_bytes else ""
            lines.append(f"{_gib(self.needed_bytes)} of checkpoints; {free}{too_small}")
        lines += [f"  {e.experiment} would fail: {e.fault}" for e in self.experiments if e.fault]
        return "\n".join(lines)


def run(
    cfg: DictConfig, dry_run: bool, json: str | None, sweep: list[DictConfig] | None = None, ranks: int = 1
) -> None:
    """Print the plan.

    Args:
        cfg: the configuration.
        dry_run: measure each unfinished experiment; False only counts.
        json: a file to write the plan to as JSON.
        sweep: the sweep's configurations; None plans the one run of `cfg`.
        ranks: processes that train one run together under the launcher.

    Raises:
        RunFailed: an experiment's dry run failed, or the disk is too small.
    """
    estimate = estimate_sweep(sweep or [cfg], ranks, measure_in_subprocess if dry_run else None)
    print(estimate.format(), flush=True)
    if json is not None:
        write_json(Path(json), estimate.as_dict())
    estimate.check()


def estimate_sweep(sweep: Sequence[DictConfig], ranks: int, measure: Measure | None) -> SweepEstimate:
    """Return the cost of a sweep; without `measure` only the numbers of runs."""
    sweep_runs = [SweepRun(str(run_directory(cfg).coordinates), cfg, run_directory(cfg)) for cfg in sweep]
    plan = plan_sweep(sweep_runs)
    active = {*plan.already_submitted, *plan.running_elsewhere}
    estimates = []
    for name in dict.fromkeys(str(each.cfg.name) for each in sweep_runs):
        indices = [i for i, each in enumerate(sweep_runs) if str(each.cfg.name) == name]
        unfinished = [sweep_runs[i] for i in indices if i not in plan.finished]
        counts = Estimate(
            experiment=name,
            runs=len(indices),
            finished=len(indices) - len(unfinished),
            running=sum(i in active for i in indices),
            epochs_left=sum(_epochs_left(each) for each in unfinished),
        )
        estimates.append(_with_cost(counts, unfinished, ranks, measure) if measure and unfinished else counts)
    runs = Path(str(sweep[0].paths.runs)).absolute()
    return SweepEstimate(estimates, ranks, runs, shutil.disk_usage(_existing(runs)).free)


def measure_in_subprocess(cfg: DictConfig) -> Measurement:
    """Dry-run one experiment in its own process.

    Raises:
        RunFailed: the dry run failed or was killed; with the reason.
    """
    shortened = OmegaConf.create(OmegaConf.to_container(cfg, resolve=True))
    OmegaConf.update(shortened, "tracker", {"_target_": "brats_ablate.tracking.base.NullTracker"}, merge=False)
    OmegaConf.update(shortened, "trainer.devices", 1)
    OmegaConf.update(shortened, "trainer.progress", "none")
    done = subprocess.run(
        [sys.executable, "-m", "brats_ablate.jobs.sweep.dry_run"],
        input=OmegaConf.to_yaml(shortened), capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode == 0:
        measurement: Measurement = loads(done.stdout.splitlines()[-1])
        return measurement
    if done.returncode < 0:
        raise RunFailed(f"killed by {signal.Signals(-done.returncode).name} (out of memory?)")
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    raise RunFailed(lines[-1].removeprefix("brats-ablate: ") if lines else f"exit code {done.returncode}")


def _with_cost(counts: Estimate, unfinished: Sequence[SweepRun], ranks: int, measure: Measure) -> Estimate:
    print(f"{counts.experiment}: dry run", flush=True)
    try:
        measured = measure(unfinished[0].cfg)
    except RunFailed as error:
        return replace(counts, fault=str(error))
    trainer = unfinished[0].cfg.trainer
    steps = math.ceil(measured["steps_per_epoch"] / ranks)
    cases = math.ceil(measured["validation_cases"] / ranks)
    epoch_s = steps * measured["step_s"] + cases * measured["case_s"] / int(trainer.validate_every)
    new_runs = sum(not each.run.last_checkpoint.exists() for each in unfinished if each.run)
    return replace(
        counts,
        measured=measured,
        epoch_s=epoch_s,
        run_s=epoch_s * int(trainer.epochs),
        device_hours=epoch_s * counts.epochs_left * ranks / 3600,
        disk_bytes=measured["disk_bytes"] * new_runs,
    )


def _epochs_left(each: SweepRun) -> int:
    status = each.status
    return int(each.cfg.trainer.epochs) - (status.epoch if status else 0)


def _row(e: Estimate) -> list[str]:
    return [
        e.experiment,
        str(e.runs),
        str(e.finished),
        str(e.running),
        _gib(e.measured["memory_bytes"]) if e.measured else "",
        f"{e.measured['step_s']:.2f}s" if e.measured else "",
        format_duration(e.epoch_s) if e.epoch_s is not None else "",
        format_duration(e.run_s) if e.run_s is not None else "",
        f"{e.device_hours:,.1f}" if e.device_hours is not None else "",
        _gib(e.disk_bytes) if e.disk_bytes is not None else "",
    ]


def _gib(size: int) -> str:
    return f"{size / 2**30:.1f} GiB"


def _existing(path: Path) -> Path:
    return path if path.exists() else _existing(path.parent)
