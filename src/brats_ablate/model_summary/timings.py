"""Interleaved timings of two networks on this machine: forward passes and training steps.

Absolute times of a busy machine mean little. Two networks timed alternately run under the same load, and other work can
only lengthen a pass, so the ratio of the shortest passes is reliable.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from brats_ablate.losses.total_loss import TotalLoss
from brats_ablate.models.base import SegmentationModel
from brats_ablate.training.precision import Precision


@dataclass(frozen=True)
class TimedModel:
    """A network with loss, optimizer and batch, on the device that is measured."""

    model: SegmentationModel
    loss: TotalLoss
    optimizer: torch.optim.Optimizer
    images: Tensor
    """(B, C, X, Y, Z)"""
    labels: Tensor
    """(B, X, Y, Z) uint8 nested labels."""
    precision: Precision

    def forward(self) -> None:
        """Run one forward pass as in inference."""
        self.model.eval()
        with torch.no_grad(), self.precision.autocast():
            self.model(self.images)

    def step(self) -> None:
        """Run one training step: forward, loss, backward, update."""
        self.model.train()
        self.optimizer.zero_grad(set_to_none=True)
        with self.precision.autocast():
            output = self.model(self.images)
        loss, _ = self.loss(output, self.labels, self.images)
        loss.backward()
        self.optimizer.step()


@dataclass(frozen=True)
class Timing:
    """The shortest of the repeated passes, in seconds and relative to the reference's shortest."""

    forward_s: float
    step_s: float
    forward_ratio: float
    step_ratio: float


def time_against(reference: TimedModel, candidate: TimedModel, repeats: int) -> Timing:
    """Time `candidate` and `reference` alternately, `repeats` times after one warm-up each."""
    forward, forward_ratio = _interleaved(reference.forward, candidate.forward, reference.precision, repeats)
    step, step_ratio = _interleaved(reference.step, candidate.step, reference.precision, repeats)
    return Timing(forward, step, forward_ratio, step_ratio)


def _interleaved(
    reference: Callable[[], None], candidate: Callable[[], None], precision: Precision, repeats: int
) -> tuple[float, float]:
    _seconds(reference, precision)
    _seconds(candidate, precision)
    pairs = [(_seconds(reference, precision), _seconds(candidate, precision)) for _ in range(repeats)]
    shortest_reference, shortest = (min(times) for times in zip(*pairs, strict=True))
    return shortest, shortest / shortest_reference


def _seconds(work: Callable[[], None], precision: Precision) -> float:
    _synchronize(precision)
    start = time.perf_counter()
    work()
    _synchronize(precision)
    return time.perf_counter() - start


def _synchronize(precision: Precision) -> None:
    if precision.device.type == "cuda":
        torch.cuda.synchronize(precision.device)
