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

from brats_ablate.errors import ConfigError, RunFailed
from brats_ablate.jobs.build import instantiate
from brats_ablate.jobs.sweep.dry_run import Measurement
from brats_ablate.launch.sweep import SweepRun, by_data_set, configuration, plan_sweep, run_directory
from brats_ablate.runtime.files import write_json
from brats_ablate.runtime.text import align, counted, format_duration
from brats_ablate.training.validation_schedule import ValidationSchedule

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
    ranks: int
    """Processes that train each run."""
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
    runs: Path
    free_bytes: int

    @property
    def needed_bytes(self) -> int:
        """Size of the checkpoints that are still to be written."""
        return sum(e.disk_bytes or 0 for e in self.experiments)

    def as_dict(self) -> dict[str, Any]:
        """Return the estimate for JSON."""
        experiments = [asdict(e) for e in self.experiments]
        sizes = {"free_bytes": self.free_bytes, "needed_bytes": self.needed_bytes}
        return {"experiments": experiments} | sizes

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
        most = max(e.ranks for e in self.experiments)
        numbers = " or ".join(str(n) for n in sorted({e.ranks for e in self.experiments}))
        ranks = f"{numbers} rank{'s' if most > 1 else ''} each"
        lines = [align(rows), "", f"{counted(runs, 'run')}, {finished} finished, {runs - finished} to do, {ranks}"]
        if any(e.measured for e in self.experiments):
            hours = sum(e.device_hours or 0 for e in self.experiments)
            lines.append(f"{hours:,.1f} {unit}, measured on this machine; assumes that ranks share the work evenly")
            free = f"{_gib(self.free_bytes)} are free at {self.runs}"
            too_small = ": too little" if self.needed_bytes > self.free_bytes else ""
            lines.append(f"{_gib(self.needed_bytes)} of checkpoints; {free}{too_small}")
        lines += [f"  {e.experiment} would fail: {e.fault}" for e in self.experiments if e.fault]
        return "\n".join(lines)


def run(
    cfg: DictConfig,
    dry_run: bool,
    json: str | None,
    detect: float | None = None,
    compare: bool = False,
    tables: list[str] | None = None,
    sweeps: str = "sweeps",
    sweep: list[DictConfig] | None = None,
) -> None:
    """Print the plan of `sweep`, or of the one run of `cfg`.

    `dry_run` measures each unfinished experiment. `json` is a file to write the plan to. With `detect` it is the plan
    of the runs that decide the open columns of `tables` instead, written to the folder `sweeps`. With `compare` it is
    a table of designs of `sweep`, or of `tables`: the difference that each detects, and its GPU-hours.

    Raises:
        ConfigError: `detect` is not positive, or a table does not exist.
        RunFailed: an experiment's dry run failed, or the disk is too small.
    """
    if detect is not None and not detect > 0:
        raise ConfigError(f"job.detect={detect} must be a difference of mean Dice above 0, e.g. 0.001")
    measure = measure_in_subprocess if dry_run else None
    if compare:
        from brats_ablate.jobs.sweep import designs

        designs.run(cfg, sweep or [cfg], detect=detect, tables=tables, measure=measure)
        return
    if detect is not None:
        from brats_ablate.jobs.sweep import next_runs  # imports numpy and pandas, which a plan without it does not need

        next_runs.run(cfg, detect=detect, tables=tables, sweeps=sweeps)
        return
    estimate = estimate_sweep(sweep or [cfg], measure)
    print(estimate.format(), flush=True)
    if json is not None:
        write_json(Path(json), estimate.as_dict())
    estimate.check()


def estimate_sweep(sweep: Sequence[DictConfig], measure: Measure | None) -> SweepEstimate:
    """Return the cost of a sweep; without `measure` only the numbers of runs."""
    sweep_runs = [SweepRun(str(run_directory(cfg).coordinates), cfg, run_directory(cfg)) for cfg in sweep]
    plan = plan_sweep(sweep_runs)
    active = {*plan.already_submitted, *plan.running_elsewhere}
    estimates = []
    indices_of: dict[str, list[int]] = {}
    has_several = len(by_data_set(sweep)) > 1
    for i, each in enumerate(sweep_runs):
        label = f"{each.cfg.name} ({each.cfg.data.name})" if has_several else str(each.cfg.name)
        indices_of.setdefault(label, []).append(i)
    for name, indices in indices_of.items():
        unfinished = [sweep_runs[i] for i in indices if i not in plan.finished]
        running, trained = sum(i in active for i in indices), sum(r.status.epoch for r in unfinished if r.status)
        epochs_left = sum(int(r.cfg.trainer.epochs) for r in unfinished) - trained
        ranks = int(sweep_runs[indices[0]].cfg.trainer.ranks)
        counts = Estimate(name, len(indices), len(indices) - len(unfinished), running, epochs_left, ranks)
        estimates.append(_with_cost(counts, unfinished, measure) if measure and unfinished else counts)
    runs = Path(str(sweep[0].paths.runs)).absolute()
    existing = next(folder for folder in (runs, *runs.parents) if folder.exists())
    return SweepEstimate(estimates, runs, shutil.disk_usage(existing).free)


def measure_in_subprocess(cfg: DictConfig) -> Measurement:
    """Dry-run one experiment in its own process.

    Raises:
        RunFailed: the dry run failed or was killed; with the reason.
    """
    shortened = OmegaConf.create(configuration(cfg))
    OmegaConf.update(shortened, "tracker", {"_target_": "brats_ablate.tracking.base.NullTracker"}, merge=False)
    OmegaConf.update(shortened, "trainer.devices", 1)
    OmegaConf.update(shortened, "trainer.ranks", 1)
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


def _with_cost(counts: Estimate, unfinished: Sequence[SweepRun], measure: Measure) -> Estimate:
    print(f"{counts.experiment}: dry run", flush=True)
    try:
        measured = measure(unfinished[0].cfg)
    except RunFailed as error:
        return replace(counts, fault=str(error))
    epochs = int(unfinished[0].cfg.trainer.epochs)
    schedule: ValidationSchedule = instantiate(unfinished[0].cfg.validation)
    interim, final = schedule.count(epochs)
    steps, cases = (math.ceil(n / counts.ranks) for n in (measured["steps_per_epoch"], measured["validation_cases"]))
    of_case = (interim * measured["interim_case_s"] + final * measured["case_s"]) / epochs
    epoch_s = steps * measured["step_s"] + cases * of_case
    new_runs = sum(not each.run.last_checkpoint.exists() for each in unfinished if each.run)
    return replace(
        counts,
        measured=measured,
        epoch_s=epoch_s,
        run_s=epoch_s * epochs,
        device_hours=epoch_s * counts.epochs_left * counts.ranks / 3600,
        disk_bytes=measured["disk_bytes"] * new_runs,
    )


def _row(e: Estimate) -> list[str]:
    counts = [e.experiment, str(e.runs), str(e.finished), str(e.running)]
    if e.measured is None:
        return [*counts, *[""] * 6]
    times = [f"{e.measured['step_s']:.2f}s", format_duration(e.epoch_s or 0), format_duration(e.run_s or 0)]
    return [*counts, _gib(e.measured["memory_bytes"]), *times, f"{e.device_hours or 0:,.1f}", _gib(e.disk_bytes or 0)]


def _gib(size: int) -> str:
    return f"{size / 2**30:.1f} GiB"
