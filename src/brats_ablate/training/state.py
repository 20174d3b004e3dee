"""The state of a run within its training: its position, and the metrics of the epoch so far."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from torch import Tensor

MAX_SKIPPED_IN_A_ROW = 50
"""Steps. fp16's loss scaling starts at 2¹⁶ and halves at each skipped step, so it is not the reason of more of them."""


class Fault(NamedTuple):
    """A number of a step that is not finite."""

    what: str
    step: int
    case_ids: list[str]
    is_shared: bool
    """Whether every rank has it: gradients are averaged over the ranks, losses are a rank's own."""


def cause(faults: Sequence[Fault | None]) -> tuple[int, str]:
    """Return the rank whose fault explains those of all ranks, and what happened where.

    Args:
        faults: the first fault of each rank, at least one.
    """
    found = [(rank, fault) for rank, fault in enumerate(faults) if fault is not None]
    rank, fault = next((each for each in found if not each[1].is_shared), found[0])
    others = [case for _, each in found for case in each.case_ids] if fault.is_shared else fault.case_ids
    return rank, f"{fault.what} at step {fault.step} on {', '.join(others)}"


class StepMetrics(NamedTuple):
    """Metrics of one step, still on the device."""

    step: int
    case_ids: list[str]
    values: dict[str, Tensor]


@dataclass
class TrainState:
    """The progress of a run, and the metrics of its unfinished epoch."""

    epoch: int = 0
    """Finished epochs."""
    step_in_epoch: int = 0
    sums: dict[str, float] = field(default_factory=dict)
    """Over this rank's steps of the epoch so far: the loss, its terms, the gradient norm, the skipped steps."""
    skipped_in_a_row: int = 0
    """The latest steps whose gradient overflowed in fp16: the loss scaling skipped them and lowered its factor."""
    seconds: dict[str, float] = field(default_factory=dict)
    best: list[list[float]] = field(default_factory=list)
    """[epoch, mean Dice] of the kept checkpoints, best first."""

    def add(self, step: int, case_ids: list[str], numbers: dict[str, float], *, scaled: bool) -> Fault | None:
        """Add the metrics of one step on `case_ids`.

        A gradient that overflows is a fault, unless the loss is `scaled` for fp16: the scaling then skips the step.
        Skipped steps are counted, and their norm is left out.

        Returns:
            What is not finite, None if nothing is.
        """
        fault, is_shared = None, True
        if not math.isfinite(numbers["grad_norm"]) and scaled:
            self.skipped_in_a_row += 1
            numbers = {name: value for name, value in numbers.items() if name != "grad_norm"} | {"skipped_steps": 1.0}
            if self.skipped_in_a_row > MAX_SKIPPED_IN_A_ROW:
                fault = f"the gradient overflowed fp16 in {self.skipped_in_a_row} steps in a row, the last"
        elif not math.isfinite(numbers["grad_norm"]):
            fault = f"the gradient's norm is {numbers['grad_norm']}"
        else:
            self.skipped_in_a_row = 0
        if not math.isfinite(numbers["loss"]):
            fault, is_shared = f"the loss is {numbers['loss']}", False
        for name, number in numbers.items():
            self.sums[name] = self.sums.get(name, 0.0) + number
        return None if fault is None else Fault(fault, step, case_ids, is_shared)

    def means(self, sums: Sequence[float], steps: int) -> dict[str, float]:
        """Return the means over an epoch of `steps`, and how many were skipped; `sums` are means over the ranks."""
        totals = dict(zip(self.sums, sums, strict=True))
        skipped = totals.pop("skipped_steps", 0.0)
        taken = {"grad_norm": steps - skipped}
        means = {name: total / taken.get(name, steps) for name, total in totals.items()}
        return means | ({"skipped_steps": skipped} if skipped else {})
