"""Files of run directories and their sizes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple


class SizedFile(NamedTuple):
    """A file and its size in bytes."""

    path: str
    size: int

    @property
    def name(self) -> str:
        return self.path.rpartition("/")[2]


def folders_in(folder: str) -> list[str]:
    """Return the names of the folders in `folder`, links to folders included; [] if it does not exist."""
    try:
        with os.scandir(folder) as entries:
            return [entry.name for entry in entries if entry.is_dir()]
    except (FileNotFoundError, NotADirectoryError):
        return []


def files_in(*folders: Path | str) -> Iterator[SizedFile]:
    """Yield the files directly in each folder that exists; leaves out one that is deleted or renamed meanwhile."""
    for folder in folders:
        try:
            entries = list(os.scandir(folder))
        except (FileNotFoundError, NotADirectoryError):
            continue
        for entry in entries:
            try:
                if entry.is_file(follow_symlinks=False):
                    yield SizedFile(entry.path, entry.stat(follow_symlinks=False).st_size)
            except FileNotFoundError:
                continue


def files_of_run(run: Path) -> Iterator[SizedFile]:
    """Yield the records and checkpoints in a run directory."""
    return files_in(run, f"{run}/checkpoints")
