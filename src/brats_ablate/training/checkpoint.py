"""Checkpoint files: written under a temporary name and renamed, read with `weights_only=True`."""

from __future__ import annotations

import errno
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from brats_ablate.errors import RunFailed
from brats_ablate.runtime import files
from brats_ablate.runtime.files import atomic_write


def save(content: dict[str, Any], path: Path) -> None:
    """Write a checkpoint atomically: after a kill or on a full disk the previous file is unchanged.

    Raises:
        OSError: the disk is full or gone; names the file.
    """
    try:
        # An open file, because with a file name torch loses the file system's error.
        with atomic_write(path) as temporary, temporary.open("wb") as stream:
            torch.save(content, stream)
    except (RuntimeError, OSError) as error:  # torch hides a failed write behind "unexpected pos"
        os_error = files.os_error_behind(error)
        if os_error is None:
            raise
        raise files.with_filename(os_error, path) from error


def load(path: Path, device: torch.device | str = "cpu") -> dict[str, Any]:
    """Read a checkpoint, after comparing everything in it with the checksums of the file.

    Raises:
        RunFailed: the file is missing or damaged; names it.
        OSError: the file system cannot read it; names the file.
    """
    with _readable(path):
        _compare_checksums(path)
        content: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
    return content


def verify(path: Path) -> None:
    """Compare everything in a checkpoint with the checksums of the file; errors as `load`."""
    with _readable(path):
        _compare_checksums(path)


def _compare_checksums(path: Path) -> None:
    with zipfile.ZipFile(path) as archive:  # torch writes checksums, but does not compare them
        if damaged := archive.testzip():
            raise zipfile.BadZipFile(damaged)


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise RunFailed(f"{path} does not exist; train the run first") from None
    except MemoryError:
        raise
    except Exception as error:  # of any kind, as wrong bytes lead zipfile, torch and pickle anywhere
        os_error = files.os_error_behind(error)
        if os_error is not None and os_error.errno not in (None, errno.EINVAL):  # which a position before the file is
            raise files.with_filename(os_error, path) from error
        raise RunFailed(f"{path} is damaged or no checkpoint; delete it and start the run again") from error


def load_weights(path: Path, model: torch.nn.Module) -> None:
    """Load a checkpoint's weights into `model`.

    Raises:
        RunFailed: they belong to a different architecture; names the first tensor that differs.
    """
    expected = model.state_dict()
    saved = load(path)["model"]
    for name in sorted(expected.keys() | saved.keys()):
        shapes = [tuple(d[name].shape) if name in d else None for d in (saved, expected)]
        if shapes[0] != shapes[1]:
            difference = f"{name} is {shapes[0] or 'absent'} in the file and {shapes[1] or 'absent'} in the network"
            raise RunFailed(
                f"{path} is a checkpoint of a different configuration: {difference}; use the run's own config.yaml"
            )
    model.load_state_dict(saved)
