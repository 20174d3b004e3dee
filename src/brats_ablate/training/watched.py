"""Parts of a trainer that mark the progress of a run: each does what the part that it wraps does."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import TypeVar

import torch
from torch import Tensor

from brats_ablate.cases import Patch
from brats_ablate.runtime.activity import Activity
from brats_ablate.training.distributed import DistributedContext
from brats_ablate.training.progress import Progress
from brats_ablate.training.timer import Timer
from brats_ablate.training.trainer import Loader, Trainer
from brats_ablate.training.validation import Validation

Item = TypeVar("Item")
_AFTER = {"data": "forward", "forward": "backward", "backward": "optimizer step", "optimizer": "end of the step"}
"""Phase of a step -> the one that follows."""


def watch_trainer(trainer: Trainer, activity: Activity) -> None:
    """Make a trainer mark its progress: each phase of a step, validated case and epoch."""
    trainer.progress = WatchedProgress(trainer.progress, activity)
    trainer.loader = WatchedLoader(trainer.loader, activity)
    trainer.timer = WatchedTimer(trainer.precision.device, activity)
    trainer.validation = watched_validation(trainer.validation, activity)
    trainer.interim_validation = watched_validation(trainer.interim_validation, activity)


class WatchedProgress(Progress):
    """A progress report that marks finished steps and epochs."""

    def __init__(self, report: Progress, activity: Activity) -> None:
        super().__init__(report.label)
        self.report, self.activity = report, activity

    def start(self, first_step: int, total_steps: int) -> None:
        self.report.start(first_step, total_steps)
        self.activity.mark("starting the first epoch", step=first_step)

    def step(self, step: int, epoch: int) -> None:
        self.report.step(step, epoch)
        self.activity.mark(f"reading the losses up to step {step}", step=step)

    def epoch(self, row: Mapping[str, float], epochs: int) -> None:
        self.report.epoch(row, epochs)
        self.activity.mark(f"saving epoch {row['epoch']}")

    def close(self) -> None:
        self.report.close()


@dataclass
class WatchedLoader:
    """A loader that marks each batch."""

    loader: Loader
    activity: Activity

    @property
    def steps_per_epoch(self) -> int:
        """Steps of every rank in an epoch."""
        return self.loader.steps_per_epoch

    def epoch(self, epoch: int, start_step: int = 0) -> Generator[list[Patch], None, None]:
        """Yield the batches of `epoch` from `start_step` on."""
        with closing(self.loader.epoch(epoch, start_step)) as batches:
            self.activity.mark("waiting for patches", waits_for_reads=True)
            for batch in batches:
                self.activity.mark("augmentation")
                yield batch
                self.activity.mark("waiting for patches", waits_for_reads=True)
        self.activity.mark(f"ending epoch {epoch + 1}")


class WatchedTimer(Timer):
    """A timer that marks the phases of a step; those of a GPU are marked when they are queued."""

    def __init__(self, device: torch.device, activity: Activity) -> None:
        super().__init__(device)
        self.activity = activity

    def lap(self, name: str) -> None:
        super().lap(name)
        self.activity.mark(_AFTER[name])


def watched_validation(validation: Validation, activity: Activity) -> Validation:
    """Return the same validation, which marks each case that it has read, predicted and scored."""

    def predict(volume: Tensor) -> Tensor:
        activity.mark("prediction of a validation case")
        return validation.predict(volume)

    def score(predicted: Tensor, reference: Tensor) -> Tensor:
        scores = validation.score(predicted, reference)
        activity.mark("validation", waits_for_reads=True)
        return scores

    return replace(validation, predict=predict, score=score)


@dataclass(frozen=True)
class WatchedContext(DistributedContext):
    """A context of ranks that marks when this one waits for the others."""

    activity: Activity = field(default_factory=Activity)

    def any(self, *flags: bool) -> tuple[bool, ...]:
        return self._waiting(lambda: DistributedContext.any(self, *flags))

    def mean(self, values: list[float]) -> list[float]:
        return self._waiting(lambda: DistributedContext.mean(self, values))

    def gather(self, item: Item) -> list[Item]:
        return self._waiting(lambda: DistributedContext.gather(self, item))

    def barrier(self) -> None:
        self._waiting(lambda: DistributedContext.barrier(self))

    def broadcast_buffers(self, model: torch.nn.Module) -> None:
        self._waiting(lambda: DistributedContext.broadcast_buffers(self, model))

    def _waiting(self, collective: Callable[[], Item]) -> Item:
        with self.activity.waiting_for_ranks():
            return collective()
