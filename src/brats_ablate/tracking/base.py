"""What every tracker receives, and the tracker that logs nothing."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

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

    @property
    def tracking_id(self) -> str:
        """The same for every start of one run, so that a resumed run continues its curves; unique per directory."""
        return hashlib.sha256(str(self.folder.resolve()).encode()).hexdigest()[:16]


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
