"""The first lines that a run prints: what is trained, on which data, for how long, on what, and where it goes."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from brats_ablate.config.command import options_of_run
from brats_ablate.jobs.sweep.time_left import seconds_left
from brats_ablate.runs.directory import RunDirectory, RunRecord
from brats_ablate.runs.state import RunState
from brats_ablate.runtime.text import format_duration

if TYPE_CHECKING:
    from brats_ablate.training.distributed import DistributedContext
    from brats_ablate.training.precision import Precision


def announcement(
    cfg: DictConfig,
    directory: RunDirectory,
    precision: Precision,
    ranks: DistributedContext,
    *,
    cases: tuple[int, int],
    steps_per_epoch: int,
) -> str:
    """Return the lines. `cases` are the numbers of training and of validation cases."""
    training, validation = cases
    part = "" if cfg.data.get("fraction", 1) == 1 else f" (data.fraction={cfg.data.fraction:g})"
    processes = f", {ranks.world_size} processes" if ranks.world_size > 1 else ""
    lines = [
        f"{directory.coordinates}: {_subject(cfg)}",
        f"  {cfg.data.name}: {training}{part} training and {validation} validation cases; "
        f"{cfg.trainer.epochs:,} epochs of {steps_per_epoch} steps; {precision.name} on {precision.device}{processes}",
        f"  {min(str(directory.path), os.path.relpath(directory.path), key=len)}",
    ]
    rows = directory.metrics()
    if rows and directory.last_checkpoint.exists():
        from brats_ablate.training.checkpoint import finished_epochs

        done = finished_epochs(directory.last_checkpoint)
        left = seconds_left(directory, RunRecord(RunState.RUNNING, done, int(cfg.trainer.epochs)), rows)
        text = "" if left is None else f", about {format_duration(left)} left"
        lines.append(f"  continues after epoch {done}{text}")
    elif rows:
        minutes = f"{cfg.trainer.checkpoint_minutes:g} minutes (trainer.checkpoint_minutes)"
        lines.append(f"  starts again: it has no checkpoint to continue from; one is written every {minutes}")
    return "\n".join(lines)


def _subject(cfg: DictConfig) -> str:
    """Return the question that the run answers, or the options that it is trained with."""
    if cfg.about.question:
        baseline = f" (compared with {cfg.about.baseline})" if cfg.about.baseline else ""
        return f"{cfg.about.question}{baseline}"
    return " ".join(options_of_run(cfg)) or "default configuration"
