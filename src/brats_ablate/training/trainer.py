"""The training loop: one run, from where its last checkpoint left it to its last epoch.

It receives built objects and knows none of them: ablations are other objects, never a branch here. All randomness of
a step is a function of (seed, step, rank), of a patch of (seed, epoch, index), so that a resumed run is the
uninterrupted one.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, NoReturn, Protocol

import torch
from torch import Tensor

from brats_ablate.cases import Batch, Patch
from brats_ablate.errors import RunFailed
from brats_ablate.runs.directory import FINISHED, INTERRUPTED, RUNNING, RunDirectory, RunRecord
from brats_ablate.runtime import signals
from brats_ablate.runtime.random import derive_seed
from brats_ablate.training import checkpoint
from brats_ablate.training.distributed import DistributedContext
from brats_ablate.training.precision import Precision
from brats_ablate.training.progress import Progress
from brats_ablate.training.schedule import WarmupCosine
from brats_ablate.training.settings import TrainerSettings
from brats_ablate.training.timer import Timer
from brats_ablate.training.validation import Validation

_STEPS_BETWEEN_LOOKS = {
    "cpu": 1,
    "cuda": 20,
}  # a look at the loss and at the other ranks waits for the GPU's queue


class Loader(Protocol):
    """Patches of one epoch, a pure function of (seed, epoch, index)."""

    @property
    def steps_per_epoch(self) -> int: ...

    def epoch(self, epoch: int, start_step: int = 0) -> Iterator[list[Patch]]: ...


class Tracker(Protocol):
    """Where metrics are shown besides the run directory."""

    def log(self, row: dict[str, Any]) -> None: ...

    def log_image(self, make_image: Callable[[], Any]) -> None: ...


@dataclass(frozen=True)
class Parts:
    """What one run is made of, built by the job."""

    model: torch.nn.Module
    """The bare network; `at_step(step)` tells its schedules the time."""
    network: Callable[[Tensor], Any]
    """The same, wrapped for execution (ranks, compilation)."""
    to_batch: Callable[[list[Patch]], Batch]
    augment: Callable[[Batch], Batch]
    assemble: Callable[[Tensor, Tensor], Tensor]
    objective: Callable[..., tuple[Tensor, dict[str, Tensor]]]
    optimizer: torch.optim.Optimizer
    schedule: WarmupCosine
    loader: Loader
    validation: Validation


@dataclass
class Position:
    """Where a run stands, and what it has gathered of the epoch it is in."""

    epoch: int = 0
    """Finished epochs."""
    step_in_epoch: int = 0
    sums: dict[str, float] = field(default_factory=dict)
    """Of this rank, over the epoch's steps so far: the loss, its terms, the norm of the gradient."""
    seconds: dict[str, float] = field(default_factory=dict)
    best: list[list[float]] = field(default_factory=list)
    """[epoch, mean Dice] of the kept checkpoints, best first."""


@dataclass
class Trainer:
    """Trains `parts` as `settings` say and keeps the record in `run`."""

    parts: Parts
    settings: TrainerSettings
    lr: float
    seed: int
    precision: Precision
    run: RunDirectory
    ranks: DistributedContext
    tracker: Tracker
    progress: Callable[[int, int], Progress]
    identity: dict[str, Any]

    def __post_init__(self) -> None:
        self.at = Position()
        self.scaler = self.precision.scaler()
        self.timer = Timer(self.precision.device)
        self.steps_per_epoch = self.parts.loader.steps_per_epoch
        self.total_steps = self.steps_per_epoch * self.settings.epochs
        self._unseen: list[tuple[int, list[str], dict[str, Tensor]]] = []
        self._saved_at = time.monotonic()

    @property
    def step(self) -> int:
        """Finished steps of the run."""
        return self.at.epoch * self.steps_per_epoch + self.at.step_in_epoch

    def fit(self) -> None:
        """Train to the last epoch.

        Raises:
            RunFailed: the loss is not finite; names step and cases.
            Interrupted: somebody asked to stop; the state is saved at the very step.
        """
        self._resume()
        bar = self.progress(self.step, self.total_steps)
        try:
            if self.step == 0 and self.settings.validate_untrained:
                self._record(0, {}, bar)
            while self.at.epoch < self.settings.epochs:
                self._train_epoch(bar)
                self._record(self.at.epoch + 1, self._training_row(), bar)
                self.at = Position(self.at.epoch + 1, best=self.at.best)
                self._save()
                self._drop_surplus()
                self._write_status(RUNNING)
        finally:
            bar.close()
        self._write_status(FINISHED)

    # ---- one epoch

    def _train_epoch(self, bar: Progress) -> None:
        self.parts.model.train()
        patches = self.parts.loader.epoch(self.at.epoch, self.at.step_in_epoch)
        self.timer.start()
        for batch in patches:
            self._step(batch)
            self.at.step_in_epoch += 1
            bar.step(self.step, self.at.epoch + 1)
            if self.step % _STEPS_BETWEEN_LOOKS[self.precision.device.type] == 0:
                self._look()
        self._look()

    def _step(self, patches: list[Patch]) -> None:
        """One optimiser step. `images` (B, C, X, Y, Z), logits per head (B, 3, …), finest first."""
        parts, step = self.parts, self.step
        for group in parts.optimizer.param_groups:
            group["lr"] = self.lr * parts.schedule.factor(step, self.total_steps)
        parts.model.set_step(step)  # type: ignore[operator]
        torch.manual_seed(derive_seed(self.seed, "step", step, self.ranks.rank))

        batch = parts.augment(parts.to_batch(patches))
        images = parts.assemble(batch.images, batch.foreground).contiguous(memory_format=torch.channels_last_3d)
        self.timer.mark("data")
        with self.precision.autocast():
            output = parts.network(images)
            loss, terms = parts.objective(output.logits, output.aux, batch.labels, images)
        self.timer.mark("forward")
        parts.optimizer.zero_grad(set_to_none=True)
        self.scaler.scale(loss).backward()
        self.timer.mark("backward")
        self.scaler.unscale_(parts.optimizer)
        norm = torch.nn.utils.get_total_norm([p.grad for p in parts.model.parameters() if p.grad is not None])
        self.scaler.step(parts.optimizer)
        self.scaler.update()
        self.timer.mark("optimizer")
        seen = {"loss": loss, "grad_norm": norm} | {f"loss/{name}": term for name, term in terms.items()}
        self._unseen.append((step, batch.case_ids, {name: value.detach() for name, value in seen.items()}))

    def _look(self) -> None:
        """Read the losses since the last look, and hear whether any rank wants to stop. A collective."""
        failure = None
        for step, cases, values in self._unseen:
            numbers = dict(zip(values, torch.stack([v.float() for v in values.values()]).tolist(), strict=True))
            if not math.isfinite(numbers["loss"]) and failure is None:
                failure = f"the loss is {numbers['loss']} at step {step} on {', '.join(cases)}"
            for name, number in numbers.items():
                self.at.sums[name] = self.at.sums.get(name, 0.0) + number
        self._unseen.clear()
        due = time.monotonic() - self._saved_at > 60 * self.settings.checkpoint_minutes
        failed, stop, save = self.ranks.any(failure is not None, signals.stop_requested(), due)
        if failed:
            rank, told = next((r, f) for r, f in enumerate(self.ranks.gather(failure)) if f is not None)
            raise RunFailed(f"{told}; look at these cases, lower lr, or set trainer.precision=fp32", rank)
        if stop:
            self._stop()
        if save:
            self._save()

    def _record(self, epoch: int, training: dict[str, Any], bar: Progress) -> None:
        """Validate if it is time, and put the epoch on record. Epoch 0 is the untrained network."""
        row: dict[str, Any] = {"epoch": epoch, "step": self.step} | training
        if epoch % self.settings.validate_every == 0 or epoch == self.settings.epochs:
            self.parts.model.eval()
            found = self.parts.validation.run(self.ranks, signals.stop_requested)
            if found is None:
                self._stop()
            means, cases, seconds = found
            row |= means | {"seconds/validation": seconds}
            if self.ranks.is_main_process:
                self.run.append("cases.jsonl", [{"epoch": epoch, **case} for case in cases])
            if epoch > 0:
                self._keep_if_best(epoch, means["dice"])
        row["seconds"] = sum(v for k, v in row.items() if k.startswith("seconds/"))
        if self.ranks.is_main_process:
            self.run.append("metrics.jsonl", [row])
            self.tracker.log(row)
        bar.epoch(row, self.settings.epochs)

    def _training_row(self) -> dict[str, Any]:
        over_ranks = self.ranks.mean(list(self.at.sums.values()))
        means = {name: total / self.steps_per_epoch for name, total in zip(self.at.sums, over_ranks, strict=True)}
        self._add_seconds()
        seconds = {f"seconds/{name}": value for name, value in self.at.seconds.items()}
        trained = sum(seconds.values())
        samples = self.steps_per_epoch * self.settings.batch_size * self.ranks.world_size
        return {
            **means,
            "lr": self.lr * self.parts.schedule.factor(self.step - 1, self.total_steps),
            "patches_per_second": samples / max(trained, 1e-9),
            "peak_memory_bytes": peak_memory_bytes(self.precision.device),
            **seconds,
        }

    # ---- what survives

    def _keep_if_best(self, epoch: int, dice: float) -> None:
        self.at.best = sorted([*self.at.best, [epoch, dice]], key=lambda b: (-b[1], b[0]))
        self.at.best = self.at.best[: self.settings.keep_best]
        if self.ranks.is_main_process and [epoch, dice] in self.at.best:
            self.run.ensure_exists()
            content = {"model": self.parts.model.state_dict(), "epoch": epoch, "dice": dice}
            checkpoint.save(content | {"identity": self.identity}, self.run.best_checkpoint(epoch, dice))

    def _drop_surplus(self) -> None:
        """Delete best checkpoints that the last one does not know: surpassed, or of an epoch that comes again."""
        if self.ranks.is_main_process:
            kept = {self.run.best_checkpoint(int(epoch), dice) for epoch, dice in self.at.best}
            for file in set(self.run.best_checkpoints()) - kept:
                file.unlink()

    def _stop(self) -> NoReturn:
        self._save()
        self._write_status(INTERRUPTED)
        raise signals.Interrupted

    def _save(self) -> None:
        """Write `last.pt`. A collective."""
        self._add_seconds()
        sums = self.ranks.gather(self.at.sums)
        if self.ranks.is_main_process:
            self.run.ensure_exists()
            content = {
                "model": self.parts.model.state_dict(),
                "optimizer": self.parts.optimizer.state_dict(),
                "scaler": self.scaler.state_dict(),
                "position": vars(self.at),
                "sums_of_ranks": sums,
                "identity": self.identity,
            }
            checkpoint.save(content, self.run.last_checkpoint)
        self._saved_at = time.monotonic()

    def _resume(self) -> None:
        if self.run.last_checkpoint.exists():
            saved = checkpoint.load(self.run.last_checkpoint, self.precision.device)
            self.parts.model.load_state_dict(saved["model"])
            self.parts.optimizer.load_state_dict(saved["optimizer"])
            self.scaler.load_state_dict(saved["scaler"])
            self.at = Position(**saved["position"])
            if "sums_of_ranks" in saved:  # checkpoints of earlier versions hold the first rank's only
                self.at.sums = saved["sums_of_ranks"][self.ranks.rank]
        self._drop_surplus()
        self._write_status(RUNNING)

    def _write_status(self, state: str) -> None:
        if self.ranks.is_main_process:
            best = self.at.best[0][1] if self.at.best else None
            self.run.write_status(RunRecord(state, self.at.epoch, self.settings.epochs, best))

    def _add_seconds(self) -> None:
        for name, seconds in self.timer.read().items():
            self.at.seconds[name] = self.at.seconds.get(name, 0.0) + seconds


def peak_memory_bytes(device: torch.device) -> int:
    """The most memory in use so far: allocated on the GPU, or resident in the process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
