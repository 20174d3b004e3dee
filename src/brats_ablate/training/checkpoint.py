"""Checkpoints: written under a temporary name and renamed, read with `weights_only=True`."""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path
from typing import Any

import torch

from brats_ablate.errors import RunFailed
from brats_ablate.runtime import files
from brats_ablate.runtime.files import atomic_write


def save(content: dict[str, Any], path: Path) -> None:
    """Write a checkpoint as a whole or not at all: a kill or a full disk leaves the previous file as it was.

    Raises:
        OSError: the disk is full or gone; names the file.
    """
    try:
        # A file opened here, not a name: with a name torch loses what the file system said.
        with atomic_write(path) as temporary, temporary.open("wb") as stream:
            torch.save(content, stream)
    except (RuntimeError, OSError) as error:  # torch hides a failed write behind "unexpected pos"
        refused = files.os_error_behind(error)
        if refused is None:
            raise
        raise files.with_filename(refused, path) from error


def load(path: Path, device: torch.device | str = "cpu") -> dict[str, Any]:
    """Read a checkpoint.

    Raises:
        RunFailed: the file is missing or broken; names it.
        OSError: the file system does not give it out; names the file.
    """
    try:
        return torch.load(path, map_location=device, weights_only=True)
    except FileNotFoundError:
        raise RunFailed(f"{path} does not exist; train the run first") from None
    except (RuntimeError, OSError, EOFError, zipfile.BadZipFile, pickle.UnpicklingError, KeyError) as error:
        refused = files.os_error_behind(error)
        if refused is not None and refused.errno is not None:
            raise files.with_filename(refused, path) from error
        raise RunFailed(f"{path} is not a readable checkpoint; delete it and start the run again") from error


def load_weights(path: Path, model: torch.nn.Module) -> None:
    """Load a checkpoint's weights into `model`.

    Raises:
        RunFailed: they belong to another architecture; names the first tensor that differs.
    """
    wanted = model.state_dict()
    found = load(path)["model"]
    for name in sorted(wanted.keys() | found.keys()):
        shapes = [tuple(d[name].shape) if name in d else None for d in (found, wanted)]
        if shapes[0] != shapes[1]:
            what = f"{name} is {shapes[0] or 'absent'} in the file and {shapes[1] or 'absent'} in the network"
            raise RunFailed(f"{path} is a checkpoint of another configuration: {what}; use the run's own config.yaml")
    model.load_state_dict(found)
