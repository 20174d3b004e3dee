"""The training loop of one run, from its last checkpoint to its last epoch (paper section 3.2).

The trainer receives built objects: ablations are other objects, never a branch here. The randomness of a step depends
on (seed, step, rank), that of a patch on (seed, epoch, index), so a resumed run equals an uninterrupted one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NoReturn, Protocol

import torch
from torch import Tensor

from brats_ablate.cases import Patch
from brats_ablate.errors import RunFailed
from brats_ablate.losses.total_loss import TotalLoss
from brats_ablate.models.base import SegmentationModel, SegmentationOutput
from brats_ablate.runs.directory import RunDirectory, RunRecord
from brats_ablate.runs.state import RunState
from brats_ablate.runtime import signals
from brats_ablate.runtime.memory import peak_memory_bytes
from brats_ablate.runtime.random import derive_seed
from brats_ablate.tracking.base import Tracker
from brats_ablate.training import checkpoint
from brats_ablate.training.distributed import DistributedContext
from brats_ablate.training.finite import non_finite_tensor, remedy
from brats_ablate.training.precision import Precision
from brats_ablate.training.progress import Progress
from brats_ablate.training.schedule import Schedule
from brats_ablate.training.settings import TrainerSettings
from brats_ablate.training.state import StepMetrics, TrainState, cause
from brats_ablate.training.timer import Timer
from brats_ablate.training.validation import Validation
from brats_ablate.training.validation_schedule import Kind, ValidationSchedule
from brats_ablate.transforms.pipeline import BatchPipeline

SYNC_EVERY = {"cpu": 1, "cuda": 50}
"""Steps between reads of the loss, each of which synchronizes with the GPU and with the other ranks.

Several ranks notice a stop request then, as they must agree; a single process at each step.
"""


class Loader(Protocol):
    """Patches of one epoch, a pure function of (seed, epoch, index)."""

    @property
    def steps_per_epoch(self) -> int: ...

    def epoch(self, epoch: int, start_step: int = 0) -> Generator[list[Patch], None, None]: ...


@dataclass
class Trainer:
    """Trains `model` and records the run in `run`."""

    model: SegmentationModel
    """The bare network, whose weights are saved."""
    network: Callable[[Tensor], SegmentationOutput]
    """The same network, wrapped for execution (DDP, compilation)."""
    pipeline: BatchPipeline
    loss: TotalLoss
    optimizer: torch.optim.Optimizer
    schedule: Schedule
    loader: Loader
    validation: Validation
    interim_validation: Validation
    """Of the epochs whose kind is `interim`; its scores select nothing."""
    validation_schedule: ValidationSchedule
    settings: TrainerSettings
    lr: float
    seed: int
    precision: Precision
    run: RunDirectory
    ranks: DistributedContext
    tracker: Tracker
    progress: Progress
    identity: dict[str, Any]

    def __post_init__(self) -> None:
        self.state = TrainState()
        self.scaler = self.precision.scaler()
        self.timer = Timer(self.precision.device)
        self.steps_per_epoch = self.loader.steps_per_epoch
        self.total_steps = self.steps_per_epoch * self.settings.epochs
        self.pending: list[StepMetrics] = []
        self.latest_cases: list[str] = []
        self._saved_at = time.monotonic()
        self._writer = checkpoint.CheckpointWriter()

    @property
    def step(self) -> int:
        """Finished steps of the run."""
        return self.state.epoch * self.steps_per_epoch + self.state.step_in_epoch

    @property
    def _remedy(self) -> str:
        return remedy(self.run, self.precision.name)

    def fit(self) -> None:
        """Train to the last epoch.

        Raises:
            RunFailed: the loss, the gradient or a weight is not finite; names step and cases.
            Interrupted: a stop was requested; the state is saved at this step.
        """
        self._resume()
        self.progress.start(self.step, self.total_steps)
        try:
            if self.step == 0 and self.settings.validate_untrained:
                self._end_epoch(0, {})
            while self.state.epoch < self.settings.epochs:
                self._train_epoch()
                self._end_epoch(self.state.epoch + 1, self._training_metrics())
                skipped = self.state.skipped_in_a_row
                self.state = TrainState(self.state.epoch + 1, best=self.state.best, skipped_in_a_row=skipped)
                if any(self.ranks.any(self._save_due or self.state.epoch == self.settings.epochs)):
                    self._save()
                if self.ranks.is_main_process:
                    self._writer.run(partial(self._write_running, self._record(RunState.RUNNING)))
            self._writer.wait()
        finally:
            self._writer.close()
            self.progress.close()
        self._write_status(RunState.FINISHED)

    # ---- one epoch

    def _train_epoch(self) -> None:
        self.model.train()
        self.timer.start()
        for patches in self.loader.epoch(self.state.epoch, self.state.step_in_epoch):
            self.training_step(patches)
            self.state.step_in_epoch += 1
            self.progress.step(self.step, self.state.epoch + 1)
            is_due = self.step % SYNC_EVERY[self.precision.device.type] == 0
            if is_due or (self.ranks.world_size == 1 and signals.stop_requested()):
                self._flush_metrics()
        self._flush_metrics()
        self.ranks.broadcast_buffers(self.model)
        self._check_weights()

    def training_step(self, patches: list[Patch]) -> None:
        """Take one optimizer step. Images are (B, C, X, Y, Z), logits per head (B, 3, …), finest first."""
        self._begin_step()
        images, labels = self.pipeline(patches)
        self.timer.lap("data")
        with self.precision.autocast():
            output = self.network(images)
            loss, terms = self.loss(output, labels, images)
        self.timer.lap("forward")
        self.optimizer.zero_grad(set_to_none=True)
        self.scaler.scale(loss).backward()
        self.timer.lap("backward")
        self.scaler.unscale_(self.optimizer)
        norm = torch.nn.utils.get_total_norm([p.grad for p in self.model.parameters() if p.grad is not None])
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.timer.lap("optimizer")
        values = {"loss": loss, "grad_norm": norm} | {f"loss/{name}": term for name, term in terms.items()}
        detached = {name: value.detach() for name, value in values.items()}
        self.pending.append(StepMetrics(self.step, [patch.case_id for patch in patches], detached))

    def _begin_step(self) -> None:
        """Set the learning rate, the scheduled layers and the random seed of this step."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.lr * self.schedule.factor(self.step, self.total_steps)
        self.model.set_step(self.step)
        torch.manual_seed(derive_seed(self.seed, "step", self.step, self.ranks.rank))

    def _flush_metrics(self) -> None:
        """Read the pending losses and all-reduce the flags to fail, stop or save. A collective."""
        fault = None
        for step, case_ids, values in self.pending:
            numbers = dict(zip(values, torch.stack([v.float() for v in values.values()]).tolist(), strict=True))
            self.tracker.log_step(step + 1, numbers)
            new = self.state.add(step, case_ids, numbers, scaled=self.scaler.is_enabled())
            fault = fault or new
            self.latest_cases = case_ids
        self.pending.clear()
        failed, stop, save = self.ranks.any(fault is not None, signals.stop_requested(), self._save_due)
        if failed:
            rank, message = cause(self.ranks.gather(fault))
            raise RunFailed(f"{message}; {self._remedy}", rank)
        if stop:
            self._stop()
        if save:
            self._save()

    def _check_weights(self) -> None:
        """Check, on every rank alike, the weights that are about to be validated or saved.

        Raises:
            RunFailed: one is not finite.
        """
        name = non_finite_tensor(self.model.state_dict())
        if name is not None:
            where = f"after step {self.step - 1} on {', '.join(self.latest_cases)}"
            raise RunFailed(f"the weight {name} is not finite {where}; {self._remedy}")

    def _end_epoch(self, epoch: int, metrics: dict[str, float]) -> None:
        """Validate if it is due, and record the epoch. Epoch 0 is the untrained network."""
        row: dict[str, float] = {"epoch": epoch, "step": self.step} | metrics
        kind = self.validation_schedule.kind(epoch, self.settings.epochs)
        if kind is not None:
            row |= self._validate(epoch, kind)
        row["seconds"] = sum(value for name, value in row.items() if name.startswith("seconds/"))
        if self.ranks.is_main_process:
            self.run.append("metrics.jsonl", [row])
            self.tracker.log(row)
        self.progress.epoch(row, self.settings.epochs)

    def _validate(self, epoch: int, kind: Kind) -> dict[str, float]:
        self.model.eval()
        validation = self.validation if kind == "final" else self.interim_validation
        result = validation.run(self.ranks, signals.stop_requested)
        if result is None:
            self._stop()
        seconds = {"seconds/validation": result.seconds}
        if kind == "interim":  # under keys of its own, as it must not be compared with final scores
            return {f"interim/{name}": mean for name, mean in result.means.items()} | seconds
        if self.ranks.is_main_process:
            self.run.append_cases(epoch, result.cases)
        if epoch > 0:
            self._keep_if_best(epoch, result.means["dice"])
        return result.means | seconds

    def _training_metrics(self) -> dict[str, float]:
        sums = self.ranks.mean(list(self.state.sums.values()))
        means = self.state.means(sums, self.steps_per_epoch)
        self._flush_timer()
        seconds = {f"seconds/{name}": value for name, value in self.state.seconds.items()}
        samples = self.steps_per_epoch * self.settings.batch_size * self.ranks.world_size
        return {
            **means,
            "lr": self.lr * self.schedule.factor(self.step - 1, self.total_steps),
            "patches_per_second": samples / max(sum(seconds.values()), 1e-9),
            "peak_memory_bytes": peak_memory_bytes(self.precision.device),
            **seconds,
        }

    def _flush_timer(self) -> None:
        for name, seconds in self.timer.flush().items():
            self.state.seconds[name] = self.state.seconds.get(name, 0.0) + seconds

    # ---- checkpoints and status

    @property
    def _save_due(self) -> bool:
        return time.monotonic() - self._saved_at > 60 * self.settings.checkpoint_minutes

    def _keep_if_best(self, epoch: int, dice: float) -> None:
        ranked = sorted([*self.state.best, [epoch, dice]], key=lambda b: (-b[1], b[0]))
        self.state.best = ranked[: self.settings.keep_best]
        if self.ranks.is_main_process and [epoch, dice] in self.state.best:
            self.run.ensure_exists()
            content = {"model": self.model.state_dict(), "epoch": epoch, "dice": dice, "identity": self.identity}
            self._writer.save(content, self.run.best_checkpoint(epoch, dice))

    def _listed(self) -> set[Path]:
        """Return the best checkpoints that `last.pt` lists if it is written now."""
        return {self.run.best_checkpoint(int(epoch), dice) for epoch, dice in self.state.best}

    def _prune_checkpoints(self, kept: set[Path]) -> None:
        """Delete other best checkpoints than `kept`: surpassed, or of an epoch that will be repeated."""
        if self.ranks.is_main_process:
            for file in set(self.run.best_checkpoints()) - kept:
                file.unlink()

    def _save(self) -> None:
        """Write `last.pt`, of finite weights only; then delete best checkpoints that it does not list. A collective."""
        self._check_weights()
        self._flush_timer()
        sums = self.ranks.gather(self.state.sums)
        if self.ranks.is_main_process:
            self.run.ensure_exists()
            content = {
                "model": self.model.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "scaler": self.scaler.state_dict(),
                "position": vars(self.state),
                "sums_of_ranks": sums,
                "identity": self.identity,
            }
            self._writer.save(content, self.run.last_checkpoint)
            self._writer.run(partial(self._prune_checkpoints, self._listed()))
        self._saved_at = time.monotonic()

    def _resume(self) -> None:
        if self.run.last_checkpoint.exists():
            saved = checkpoint.load(self.run.last_checkpoint, self.precision.device)
            checkpoint.require_identity(saved, self.identity, self.run.last_checkpoint)
            name = non_finite_tensor(saved["model"])
            if name is not None:  # earlier versions could write it
                raise RunFailed(
                    f"{self.run.last_checkpoint}: {name} is not finite; delete the file to start the run again"
                )
            self.model.load_state_dict(saved["model"])
            self.optimizer.load_state_dict(saved["optimizer"])
            self.scaler.load_state_dict(saved["scaler"])
            self.state = TrainState(**saved["position"])
            if "sums_of_ranks" in saved:  # checkpoints of earlier versions contain the first rank's only
                self.state.sums = saved["sums_of_ranks"][self.ranks.rank]
        self._prune_checkpoints(self._listed())
        self.tracker.resume(self.step, self.run.rows_to_continue(self.state.epoch) if self.step > 0 else [])
        if self.ranks.is_main_process:
            self._write_running(self._record(RunState.RUNNING))

    def _stop(self) -> NoReturn:
        self._save()
        self._writer.wait()
        self._write_status(RunState.INTERRUPTED)
        raise signals.Interrupted

    def _write_status(self, state: RunState) -> None:
        if self.ranks.is_main_process:
            self.run.write_status(self._record(state))

    def _write_running(self, record: RunRecord) -> None:
        """Write `record`, unless another rank failed in the meantime and has written why."""
        status = self.run.status()
        if status is None or status.state != RunState.FAILED:
            self.run.write_status(record)

    def _record(self, state: RunState) -> RunRecord:
        best = self.state.best[0][1] if self.state.best else None
        return RunRecord(state, self.state.epoch, self.settings.epochs, best)
