"""What every tracker is handed, and the tracker that shows nothing."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True)
class RunInfo:
    """What a tracker is told of a run when it starts."""

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


@dataclass(frozen=True)
class TableText:
    """One table as text: what `analysis` renders."""

    name: str
    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    markdown: str


class NullTracker:
    """Shows nothing: the run directory has everything."""

    def __init__(self, run: RunInfo) -> None:
        self.run = run

    def show(self, draw: Callable[[], Image]) -> None:
        """The picture is not drawn."""

    def log(self, row: dict[str, Any]) -> None:
        """Nothing to do."""

    def log_tables(self, tables: Callable[[], Sequence[TableText]]) -> None:
        """The tables are not rendered."""

    def finish(self) -> None:
        """Nothing to do."""
