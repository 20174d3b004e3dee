"""`job=train`: one run of one experiment on one fold, started, resumed or skipped. Reads prepared/, writes runs/."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from brats_ablate.errors import RunFailed, UserError
from brats_ablate.jobs import build
from brats_ablate.jobs.sweep.data_check import finished_on_other_data
from brats_ablate.launch.sweep import (
    SweepRun,
    check_ranks,
    check_same_configuration,
    overfits_one_batch,
    run_directory,
)
from brats_ablate.runs.directory import RunDirectory, RunRecord, best_epoch
from brats_ablate.runs.state import RunState
from brats_ablate.runs.weights_source import RECORD
from brats_ablate.runtime import signals
from brats_ablate.runtime.output import print_line
from brats_ablate.runtime.ranks import world_size
from brats_ablate.training.failure import record_failure

if TYPE_CHECKING:
    from brats_ablate.models.base import SegmentationModel
    from brats_ablate.training.distributed import DistributedContext


def run(cfg: DictConfig) -> None:
    """Train the run that `cfg` describes, from its last checkpoint if there is one.

    Raises:
        ConfigError: `trainer.ranks` is not the number of processes that are started, or the run was started with a
            different configuration.
        RunFailed: training failed, or the run is being trained already, or was started with different data.
        DataError: the data is not prepared, or cannot be read.
        Interrupted: a stop was requested; the same command continues the run.
    """
    directory = run_directory(cfg)
    if overfits_one_batch(cfg):
        _discard(directory)
    else:
        check_same_configuration(SweepRun(str(directory.coordinates), cfg, directory))
    if directory.is_finished():
        print_line(f"{directory.coordinates}: already finished, skipping ({directory.path})")
        if (notice := data_changed_notice(cfg, directory)) is not None:
            print_line(notice)
        return
    processes = world_size()
    check_ranks(cfg, processes, f"WORLD_SIZE={processes}")
    from brats_ablate.jobs.train.spawn import must_start_ranks, start_ranks

    if must_start_ranks(cfg):
        start_ranks(cfg, directory)
        return
    from brats_ablate.jobs.train.setup import build_trainer
    from brats_ablate.runtime.ranks import local_rank
    from brats_ablate.training.anomaly import anomaly_detection
    from brats_ablate.training.determinism import deterministic_algorithms
    from brats_ablate.training.device import choose_device
    from brats_ablate.training.distributed import distributed_context
    from brats_ablate.training.watchdog import watch_for_hang
    from brats_ablate.training.watched import watch_trainer

    signals.install_handlers()
    device = choose_device(str(cfg.trainer.device), local_rank())
    epochs, hang_minutes = int(cfg.trainer.epochs), float(build.instantiate(cfg.trainer).hang_minutes)
    with (
        deterministic_algorithms(bool(cfg.trainer.deterministic)),
        # Collectives time out later than a hang is noticed, as their error names no rank.
        distributed_context(device, timeout_minutes=30 + hang_minutes) as group,
        watch_for_hang(directory, group, hang_minutes, epochs) as ranks,
        _held(directory, ranks, epochs),
        record_failure(directory, ranks, epochs),
        build_trainer(cfg, directory, device, ranks) as trainer,
        anomaly_detection(trainer.model, bool(cfg.trainer.detect_anomaly)),
    ):
        watch_trainer(trainer, ranks.activity)
        try:
            trainer.fit()
        finally:
            ranks.activity.ended.set()  # a long upload of the tracker is no hang
        if overfits_one_batch(cfg):
            _judge(directory, trainer.model)
        elif ranks.is_main_process:
            trainer.tracker.log_checkpoints(directory.best_checkpoints())
            _report(directory)


def data_changed_notice(cfg: DictConfig, directory: RunDirectory) -> str | None:
    """Return a sentence if a finished run was trained on other data than the prepared ones; else None."""
    recorded = directory.manifest().get("data_fingerprint")
    try:
        current = json.loads((Path(str(cfg.paths.prepared)) / "cohort.json").read_bytes())["fingerprint"]
    except (OSError, ValueError, KeyError):
        return None
    return None if recorded in (None, current) else finished_on_other_data([str(directory.coordinates)])


@contextmanager
def _held(directory: RunDirectory, ranks: DistributedContext, epochs: int) -> Iterator[None]:
    """Hold the run's lock, on the first rank for all of them, and clear the reason of an earlier failure.

    Raises:
        RunFailed: another process has it; on every rank.
    """
    error: Exception | None = None
    with ExitStack() as lock:
        if ranks.is_main_process:
            try:
                lock.enter_context(directory.lock())
                before = directory.status() or RunRecord(RunState.RUNNING)
                directory.write_status(RunRecord(RunState.RUNNING, before.epoch, epochs, before.best))
            except (UserError, OSError) as caught:
                error = caught
        message = ranks.gather(None if error is None else str(error))[0]
        if message is not None:
            raise error or RunFailed(message)
        if not ranks.is_main_process:
            directory.follow_lock()
        yield


def _discard(directory: RunDirectory) -> None:
    """Delete what an earlier start left: the code that it tries may have changed, which no identity records."""
    if directory.is_locked():
        raise RunFailed(f"{directory.path} is being trained by {directory.lock_owner()}; wait for it or stop it")
    if directory.path.exists():
        shutil.rmtree(directory.path)


def _judge(directory: RunDirectory, model: SegmentationModel) -> None:
    """Print that the loss on the repeated batch fell; raise RunFailed, with where to look, if it did not."""
    from brats_ablate.training.one_batch import has_learned, verdict

    rows = directory.metrics()
    if not has_learned(rows):
        raise RunFailed(verdict(rows, model))
    print_line(f"{directory.coordinates}: {verdict(rows, model)}; {directory.path}")


def _report(directory: RunDirectory) -> None:
    from brats_ablate.training.progress import time_breakdown

    rows = directory.metrics()
    untrained = [row["dice"] for row in rows if row["epoch"] == 0 and row.get("dice") is not None]
    best = best_epoch(rows)
    start = "initial weights" if (directory.path / RECORD).exists() else "untrained"
    before = f" ({start} {untrained[0]:.4f})" if untrained else ""
    score = f"best mean Dice {best['dice']:.4f} in epoch {best['epoch']}{before}" if best else "no finite Dice"
    line = f"{directory.coordinates}: {score}; {time_breakdown(rows)}; {directory.path}"
    print_line(line)
