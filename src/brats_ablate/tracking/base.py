"""What every tracker receives, and the tracker that logs nothing."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from brats_ablate.runtime.files import write_text

if TYPE_CHECKING:
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


class Tracker(Protocol):
    """What the options of `tracker` do; see `NullTracker`."""

    def log_image(self, make_image: Callable[[], Image]) -> None: ...

    def log(self, row: dict[str, Any]) -> None: ...

    def log_tables(self, tables: Mapping[str, DataFrame]) -> None: ...

    def finish(self) -> None: ...


class NullTracker:
    """Logs nothing: the run directory has everything."""

    def __init__(self, run: RunInfo) -> None:
        self.run = run

    def log_image(self, make_image: Callable[[], Image]) -> None:
        """Do nothing; the image is not drawn."""

    def log(self, row: dict[str, Any]) -> None:
        """Do nothing."""

    def log_tables(self, tables: Mapping[str, DataFrame]) -> None:
        """Do nothing."""

    def finish(self) -> None:
        """Do nothing."""
