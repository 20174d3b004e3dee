"""`job=plan`: what a sweep will cost, and whether it would run at all, before it is submitted.

Write it behind the very command that you are about to submit (`-cd sweeps -cn table2 hydra/launcher=slurm_a100
job=plan`): the number of runs and what of them is done come from the run directories; time, memory and disk from a
dry run of each experiment on this machine.
"""

from __future__ import annotations

import json as json_format
import math
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from brats_ablate.errors import RunFailed
from brats_ablate.launch.sweep import SweepPlan, SweepRun, run_directory, select
from brats_ablate.runs.directory import write_json


@dataclass(frozen=True)
class Estimate:
    """One experiment's share of the sweep. Times are what remains; None where nothing was measured."""

    experiment: str
    runs: int
    finished: int
    running: int
    epochs_left: int
    """Of all its unfinished runs together."""
    measured: dict[str, Any] | None = None
    fault: str | None = None
    """Why the dry run failed."""
    epoch_s: float | None = None
    run_s: float | None = None
    device_hours: float | None = None
    disk_bytes: int | None = None


def run(
    cfg: DictConfig, dry_run: bool, json: str | None, sweep: list[DictConfig] | None = None, ranks: int = 1
) -> None:
    """Print the plan.

    Args:
        dry_run: measure each unfinished experiment; False only counts.
        json: a file to write the same facts to.
        sweep: the sweep's configurations; None plans the one run of `cfg`.
        ranks: processes that train one run together under the launcher.

    Raises:
        RunFailed: an experiment's dry run failed, or the disk is too small for what is to do.
    """
    works = [SweepRun(str(run_directory(c).coordinates), c, run_directory(c)) for c in sweep or [cfg]]
    selection = select(works)
    estimates = []
    for name in dict.fromkeys(str(w.cfg.name) for w in works):
        indices = [i for i, w in enumerate(works) if str(w.cfg.name) == name]
        estimates.append(_estimate(name, [works[i] for i in indices], _only(selection, indices), dry_run, ranks))
    runs = Path(str(cfg.paths.runs)).absolute()
    free = shutil.disk_usage(_existing(runs)).free
    needed = sum(e.disk_bytes or 0 for e in estimates)
    print(_table(estimates, ranks, free, runs), flush=True)
    if json is not None:
        facts = {
            "experiments": [asdict(e) for e in estimates],
            "ranks": ranks,
            "free_bytes": free,
            "needed_bytes": needed,
        }
        write_json(Path(json), facts)
    failing = [e.experiment for e in estimates if e.fault]
    if failing:
        raise RunFailed(f"{', '.join(failing)} would fail; mend that before you submit the sweep")
    if needed > free:
        raise RunFailed(
            f"{_gib(needed)} of checkpoints do not fit into {_gib(free)} at {runs}; free space or set paths.work"
        )


def _epoch_seconds(measured: dict[str, Any], validate_every: int, ranks: int) -> float:
    steps = math.ceil(measured["steps_per_epoch"] / ranks)
    cases = math.ceil(measured["validation_cases"] / ranks)
    return steps * measured["step_s"] + cases * measured["case_s"] / validate_every


@dataclass(frozen=True)
class _Share:
    finished: int
    running: int
    unfinished: list[int]


def _only(selection: SweepPlan, indices: Sequence[int]) -> _Share:
    """An experiment's part of a selection; positions are within the experiment."""
    at_work = set(selection.attached) | set(selection.elsewhere)
    unfinished = [k for k, i in enumerate(indices) if i not in selection.finished]
    return _Share(len(indices) - len(unfinished), sum(i in at_work for i in indices), unfinished)


def _estimate(name: str, works: Sequence[SweepRun], share: _Share, dry_run: bool, ranks: int) -> Estimate:
    unfinished = [works[k] for k in share.unfinished]
    epochs_left = sum(_epochs_left(w) for w in unfinished)
    plain = Estimate(name, len(works), share.finished, share.running, epochs_left)
    if not dry_run or not unfinished:
        return plain
    print(f"{name}: dry run", flush=True)
    measured, fault = _measure(unfinished[0].cfg)
    if measured is None:
        return Estimate(**vars(plain) | {"fault": fault})
    trainer = unfinished[0].cfg.trainer
    epoch_s = _epoch_seconds(measured, int(trainer.validate_every), ranks)
    return Estimate(
        **vars(plain)
        | {
            "measured": measured,
            "epoch_s": epoch_s,
            "run_s": epoch_s * int(trainer.epochs),
            "device_hours": epoch_s * epochs_left * ranks / 3600,
            "disk_bytes": measured["disk_bytes"] * sum(not w.run.last_checkpoint.exists() for w in unfinished if w.run),
        }
    )


def _epochs_left(each: SweepRun) -> int:
    status = each.run.status() if each.run else None
    return int(each.cfg.trainer.epochs) - (status.epoch if status else 0)


def _measure(cfg: DictConfig) -> tuple[dict[str, Any] | None, str | None]:
    """The dry run's figures, or why it failed."""
    cut = OmegaConf.create(OmegaConf.to_container(cfg, resolve=True))
    OmegaConf.update(cut, "tracker", {"_target_": "brats_ablate.tracking.base.NullTracker"}, merge=False)
    OmegaConf.update(cut, "trainer.devices", 1)
    OmegaConf.update(cut, "trainer.progress", "none")
    done = subprocess.run(
        [sys.executable, "-m", "brats_ablate.jobs.sweep.dry_run"],
        input=OmegaConf.to_yaml(cut), capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode == 0:
        return json_format.loads(done.stdout.splitlines()[-1]), None
    if done.returncode < 0:
        return None, f"killed by {signal.Signals(-done.returncode).name} (out of memory?)"
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    return None, lines[-1].removeprefix("brats-ablate: ") if lines else f"exit code {done.returncode}"


def _table(estimates: Sequence[Estimate], ranks: int, free: int, runs: Path) -> str:
    from brats_ablate.launch.status import duration

    lines = [["experiment", "runs", "finished", "running", "memory", "step", "epoch", "run", "device-hours", "disk"]]
    for e in estimates:
        m = e.measured
        lines.append(
            [
                e.experiment,
                str(e.runs),
                str(e.finished),
                str(e.running),
                _gib(m["memory_bytes"]) if m else "",
                f"{m['step_s']:.2f}s" if m else "",
                duration(e.epoch_s) if e.epoch_s is not None else "",
                duration(e.run_s) if e.run_s is not None else "",
                f"{e.device_hours:,.1f}" if e.device_hours is not None else "",
                _gib(e.disk_bytes) if e.disk_bytes is not None else "",
            ]
        )
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    text = ["  ".join(f"{cell:<{w}}" for cell, w in zip(line, widths, strict=True)).rstrip() for line in lines]
    text += ["", *_totals(estimates, ranks, free, runs)]
    text += [f"  {e.experiment} would fail: {e.fault}" for e in estimates if e.fault]
    return "\n".join(text)


def _totals(estimates: Sequence[Estimate], ranks: int, free: int, runs: Path) -> list[str]:
    total, finished = sum(e.runs for e in estimates), sum(e.finished for e in estimates)
    text = [f"{total} runs, {finished} finished, {total - finished} to do, {ranks} rank(s) each"]
    measured = [e for e in estimates if e.measured]
    if measured:
        devices = {"cuda": "GPU", "cpu": "CPU process"}
        kinds = ", ".join(sorted({devices[e.measured["device"]] for e in measured if e.measured}))
        hours, needed = sum(e.device_hours or 0 for e in measured), sum(e.disk_bytes or 0 for e in measured)
        text.append(
            f"{hours:,.1f} {kinds}-hours, as measured on this machine; more ranks are taken to share the work evenly"
        )
        text.append(
            f"{_gib(needed)} of checkpoints; {_gib(free)} are free at {runs}"
            + (": too little" if needed > free else "")
        )
    return text


def _gib(size: int) -> str:
    return f"{size / 2**30:.1f} GiB"


def _existing(path: Path) -> Path:
    return path if path.exists() else _existing(path.parent)
