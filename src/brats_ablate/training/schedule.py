"""Learning rate schedule, a pure function of the step: it has no state to save."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

from brats_ablate.errors import ConfigError


class Schedule(Protocol):
    """A schedule of the learning rate; `schedule._target_` may name any class with this method."""

    def factor(self, step: int, total_steps: int) -> float:
        """Return the factor of the learning rate at `step` (0-based) of `total_steps`."""
        ...


@dataclass(frozen=True)
class WarmupCosine:
    """Linear warm-up from 0, then cosine annealing to 0 at the last step (paper section 3.2).

    Raises:
        ConfigError: `warmup_steps` is negative.
    """

    warmup_steps: int

    def __post_init__(self) -> None:
        if self.warmup_steps < 0:
            raise ConfigError(f"schedule.warmup_steps={self.warmup_steps} must not be negative")

    def factor(self, step: int, total_steps: int) -> float:
        """Return the factor of the learning rate at `step` (0-based) of `total_steps`.

        A run shorter than twice its warm-up warms up over its first half, so that every run anneals.
        """
        warmup = min(self.warmup_steps, total_steps // 2)
        if step < warmup:
            return step / warmup
        return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, total_steps - warmup)))


@dataclass(frozen=True)
class PolynomialDecay:
    """Decay by (1 − step / total_steps)^exponent to 0: nnU-Net's schedule, per step instead of per epoch.

    Isensee et al., Nature Methods 2021; the exponent there is 0.9.

    Raises:
        ConfigError: `exponent` is not positive.
    """

    exponent: float

    def __post_init__(self) -> None:
        if not 0 < self.exponent < math.inf:
            raise ConfigError(f"schedule.exponent={self.exponent} must be positive; nnU-Net's is 0.9")

    def factor(self, step: int, total_steps: int) -> float:
        """Return the factor of the learning rate at `step` (0-based) of `total_steps`."""
        return float((1 - step / total_steps) ** self.exponent)
