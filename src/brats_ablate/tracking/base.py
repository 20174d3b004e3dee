"""What every tracker receives, and the tracker that logs nothing."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from brats_ablate.runtime.files import write_text

if TYPE_CHECKING:
    import numpy as np
    from pandas import DataFrame
    from PIL.Image import Image


@dataclass(frozen=True)
class RunInfo:
    """A run as trackers describe it."""

    name: str
    group: str
    job: str
    """What the run does: `train`, `tables`."""
    folder: Path
    config: Mapping[str, Any]
    tags: tuple[str, ...] = ()
    question: str | None = None
    in_sweep: bool = False
    """Whether a sweep in this process trains it, which prints at its end how all of its runs are uploaded."""

    def tracking_id(self) -> str:
        """Return the id of this run for trackers, drawn and kept in its folder at the first start.

        A resumed or moved run continues its curves; a run that replaces a deleted one gets curves of its own. Version
        0.1 derived the id from the path.
        """
        file = self.folder / "tracking_id"
        if file.exists():
            return file.read_text(encoding="utf-8").strip()
        was_tracked = (self.folder / "wandb").is_dir()
        before = hashlib.sha256(str(self.folder.resolve()).encode()).hexdigest()[:16]
        drawn = before if was_tracked else secrets.token_hex(8)
        write_text(file, drawn + "\n")
        return drawn


@dataclass(frozen=True)
class ValidationImage:
    """One slice of a validation case: drawn for people, and as arrays for trackers that draw masks themselves.

    The arrays are (rows, columns) uint8.
    """

    drawn: Image
    images: Mapping[str, np.ndarray]
    """Brightness by modality."""
    predicted: np.ndarray
    """Label map, as is `reference`."""
    reference: np.ndarray
    tissues: tuple[str, ...]
    """Names of the labels, background first."""


class Tracker(Protocol):
    """What the options of `tracker` do; see `NullTracker`."""

    def resume(self, step: int, rows: Sequence[dict[str, Any]]) -> None: ...

    def log_step(self, step: int, values: Mapping[str, float]) -> None: ...

    def log_image(self, make_image: Callable[[], ValidationImage]) -> None: ...

    def log(self, row: dict[str, Any]) -> None: ...

    def log_checkpoints(self, files: Sequence[Path]) -> None: ...

    def log_tables(self, tables: Mapping[str, DataFrame]) -> None: ...

    def finish(self) -> None: ...


class NullTracker:
    """Logs nothing: the run directory has everything."""

    def __init__(self, run: RunInfo) -> None:
        self.run = run

    def resume(self, step: int, rows: Sequence[dict[str, Any]]) -> None:
        """Start training after `step` finished steps, with the lines of metrics.jsonl up to there.

        A killed run repeats the steps after its last checkpoint; what was logged of them does not count any more. A
        killed process can also lose lines that its tracker had not written, and the run may have had another tracker.
        """

    def log_step(self, step: int, values: Mapping[str, float]) -> None:
        """Log loss, its terms and the gradient's norm of step `step`, counted from 1."""

    def log_image(self, make_image: Callable[[], ValidationImage]) -> None:
        """Log the image of the epoch that is logged next; here it is not drawn."""

    def log(self, row: dict[str, Any]) -> None:
        """Log one epoch's line of metrics.jsonl."""

    def log_checkpoints(self, files: Sequence[Path]) -> None:
        """Log the best checkpoints of a run that has ended."""

    def log_tables(self, tables: Mapping[str, DataFrame]) -> None:
        """Log tables under their names."""

    def finish(self) -> None:
        """Write what is pending."""


class NewBest:
    """Finds the epochs whose Dice is higher than in every epoch before."""

    def __init__(self) -> None:
        self._best = -1.0

    def __call__(self, row: Mapping[str, Any]) -> bool:
        """Return whether this epoch, the next one, has a new best; one without a finite score has not."""
        dice = row.get("dice")
        if dice is None or not dice > self._best:  # nor is NaN
            return False
        self._best = dice
        return True
