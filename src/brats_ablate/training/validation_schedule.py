"""When a run is validated, and how: a pure function of the epoch. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from brats_ablate.errors import ConfigError

Kind = Literal["interim", "final"]
"""`final`: by the window of `inference`; selects checkpoints and is compared in tables. `interim`: in one pass over
each volume; a learning curve."""


@dataclass(frozen=True)
class ValidationSchedule:
    """The `validation` group. Scores of different kinds are not comparable, so that they are recorded apart.

    Raises:
        ConfigError: a number of epochs is below 1.
    """

    every: int
    """Epochs between validations; the last epoch is always validated."""
    final_every: int | None = None
    """The same in the final tenth, which alone is `final` then. None: every validation is `final`."""

    def __post_init__(self) -> None:
        for name in ("every", "final_every"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"validation.{name}={value} must be at least 1")

    def kind(self, epoch: int, epochs: int) -> Kind | None:
        """Return how `epoch` (1-based; 0 is the untrained network) of `epochs` is validated; None if it is not."""
        if self.final_every is None:
            return "final" if epoch % self.every == 0 or epoch == epochs else None
        if 10 * epoch > 9 * epochs:
            return "final" if epoch % self.final_every == 0 or epoch == epochs else None
        return "interim" if epoch % self.every == 0 else None

    def count(self, epochs: int) -> tuple[int, int]:
        """Return the numbers of interim and final validations of a run."""
        kinds = [self.kind(epoch, epochs) for epoch in range(1, epochs + 1)]
        return kinds.count("interim"), kinds.count("final")
