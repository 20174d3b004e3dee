"""`trainer.repeat_first_batch`: overfits one batch, to check that network, loss and data can be learned at all."""

from __future__ import annotations

import math
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import repeat
from typing import TYPE_CHECKING

from torch import Tensor, nn

from brats_ablate.cases import Patch
from brats_ablate.runtime.text import first_few
from brats_ablate.training.validation import Validation
from brats_ablate.transforms.pipeline import BatchPipeline

if TYPE_CHECKING:
    from brats_ablate.training.trainer import Loader

STEPS_PER_EPOCH = 10
MIN_FALL = 0.3
"""Fraction of the first loss by which it must fall; 100 steps on one batch take off far more."""


@dataclass(frozen=True)
class RepeatedBatch:
    """A loader whose every step is the same batch."""

    batch: list[Patch]
    steps_per_epoch: int

    @classmethod
    def first_of(cls, loader: Loader) -> RepeatedBatch:
        """Return the first batch of the first epoch of `loader`."""
        with closing(loader.epoch(0)) as batches:
            return cls(next(batches), STEPS_PER_EPOCH)

    def epoch(self, epoch: int, start_step: int = 0) -> Generator[list[Patch], None, None]:
        """Yield the batch for every step from `start_step` on."""
        yield from repeat(self.batch, self.steps_per_epoch - start_step)


def validation_on(batch: Sequence[Patch], validation: Validation, pipeline: BatchPipeline) -> Validation:
    """Return `validation` with the patches of `batch` in place of whole volumes; a case occurs once."""
    images, labels = pipeline(batch)
    regions = validation.labels.to_regions(labels)
    row = {patch.case_id: i for i, patch in enumerate(batch)}

    def load(case_id: str) -> tuple[Tensor, Tensor]:
        i = row[case_id]
        return images[i : i + 1], regions[i]

    return replace(validation, case_ids=list(row), load=load)


def has_learned(rows: Sequence[Mapping[str, float]]) -> bool:
    """Return whether the loss of the last epoch is clearly below that of the first, by lines of metrics.jsonl."""
    first, last = _losses(rows)
    return last < first - MIN_FALL * abs(first)


def verdict(rows: Sequence[Mapping[str, float]], model: nn.Module) -> str:
    """Say in one line whether the loss fell, and where to look if it did not.

    Args:
        rows: lines of metrics.jsonl.
        model: the network with the gradients of the last step.
    """
    first, last = _losses(rows)
    dice = f"; Dice on this batch {rows[-1]['dice']:.3f}" if rows[-1].get("dice") is not None else ""
    change = f"from {first:.4f} in the first epoch to {last:.4f} in the last{dice}"
    without = weights_without_gradient(model)
    trained = sum(p.requires_grad for p in model.parameters())
    unreached = f"no gradient reaches {len(without)} of {trained} weights ({first_few(without)})" if without else ""
    if has_learned(rows):
        warning = f", but {unreached}: does the loss use them?" if without else ""
        return f"the loss on one batch fell {change}{warning}"
    if without:
        advice = f"{unreached}; look for detach(), no_grad() or argmax between them and the loss"
    elif last > first:
        advice = "try a tenth of lr; if it rises still, check the sign of the loss"
    else:
        advice = "try ten times lr or trainer.epochs; then check that the loss compares logits with the right regions"
    return f"the loss on one batch did not fall: {change}; {advice}"


def weights_without_gradient(model: nn.Module) -> list[str]:
    """Return the names of the trained weights whose gradient is absent or 0 everywhere."""
    trained = ((name, p) for name, p in model.named_parameters() if p.requires_grad)
    return [name for name, p in trained if p.grad is None or not p.grad.any()]


def _losses(rows: Sequence[Mapping[str, float]]) -> tuple[float, float]:
    losses = [row["loss"] for row in rows if row.get("loss") is not None]
    return (losses[0], losses[-1]) if losses else (math.nan, math.nan)
