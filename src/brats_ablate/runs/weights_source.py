"""The source of a run's initial weights: its file, its checksum, and what it was trained on. Imports no torch."""

from __future__ import annotations

import errno
import hashlib
import zipfile
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from brats_ablate.errors import ConfigError
from brats_ablate.runs.directory import RunDirectory
from brats_ablate.runs.state import RunState
from brats_ablate.runtime.files import read_json, to_json

RECORD = "initialization.json"
"""In the directory of a run that started from other weights: their source, and what was and was not loaded."""
_DATA = ("data.name", "fold", "data.n_folds", "data.fold_seed")
"""Keys of an identity that say which cases a run trained on."""


def checkpoint_file(path: Path) -> Path:
    """Return the file that `init.checkpoint` names: itself, or the best checkpoint of a finished run directory.

    Raises:
        ConfigError: there is none.
    """
    if path.is_file():
        return path
    run = RunDirectory(path)
    if not path.exists():
        raise ConfigError(f"init.checkpoint={path} does not exist; name a run directory or a checkpoint file")
    if (status := run.status()) is None:
        raise ConfigError(
            f"init.checkpoint={path} is no run directory; name one, …/<experiment>/fold=…/lr=…/seed=…, or a file"
        )
    if status.state not in (RunState.FINISHED, RunState.IMPORTED):
        raise ConfigError(f"init.checkpoint={path} has not finished; train it to its end, or name one of its files")
    files = run.best_checkpoints()
    if not files:
        raise ConfigError(f"init.checkpoint={path} contains no best_*.pt any more; put it back, or name another run")
    return files[0]


def content_checksum(file: Path) -> str:
    """Return a checksum of a checkpoint's content, after comparing all of it with the checksums in the file.

    Raises:
        ConfigError: it is damaged or no checkpoint.
    """
    status = file.stat()
    return _checksum(file, status.st_size, status.st_mtime_ns)


@lru_cache
def _checksum(file: Path, _size: int, _modified_ns: int) -> str:
    try:
        with zipfile.ZipFile(file) as archive:
            damaged = archive.testzip()
            # Without the folder, which is named after the file, and what torch adds about itself.
            members = [(m.filename.partition("/")[2], m.CRC, m.file_size) for m in archive.infolist()]
    except MemoryError:
        raise
    except Exception as error:  # of any kind, as wrong bytes lead zipfile anywhere
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
            raise ConfigError(f"init.checkpoint={file}: {error.strerror}; check path and permissions") from error
        raise _unusable(file) from error
    content = sorted(member for member in members if member[0] == "data.pkl" or member[0].startswith("data/"))
    if damaged or not content or content[0][0] != "data.pkl":
        raise _unusable(file)
    return hashlib.sha256(to_json(content).encode()).hexdigest()[:16]


def _unusable(file: Path) -> ConfigError:
    return ConfigError(f"init.checkpoint={file} is damaged or no checkpoint; name another, or train its run again")


def run_of(file: Path) -> RunDirectory | None:
    """Return the run directory that a checkpoint file is in; None for a file elsewhere."""
    run = RunDirectory(file.parent.parent)
    return run if file.parent.name == "checkpoints" and run.identity() is not None else None


def trained_on(run: RunDirectory) -> list[dict[str, Any]]:
    """Return what the weights of a run were trained on: by the run itself, then by those that it started from."""
    manifest, earlier = run.manifest(), read_json(run.path / RECORD).get("trained_on", [])
    return [data_of(run.identity() or {}) | {"data_fingerprint": manifest.get("data_fingerprint")}, *earlier]


def data_of(identity: Mapping[str, Any]) -> dict[str, Any]:
    """Return the part of an identity that says which cases the run trained on."""
    return {key: identity.get(key) for key in _DATA}


def leak(source: Mapping[str, Any], ours: Mapping[str, Any]) -> str | None:
    """Return why weights may have been trained on cases that a run validates on; None if they were not.

    Weights of another data set are none of this: which patients two data sets share is not recorded.

    Args:
        source: one entry of `trained_on`.
        ours: the same of the run that starts from these weights.
    """
    prints = [each.get("data_fingerprint") for each in (source, ours)]
    same_cases = None not in prints and prints[0] == prints[1]
    if not same_cases and source["data.name"] != ours["data.name"]:
        return None
    differing = [key for key in _DATA[1:] if source[key] != ours[key]]
    if differing:
        theirs, here = (", ".join(f"{key}={each[key]}" for key in differing) for each in (source, ours))
        remedy = "take weights of the same fold, in a sweep with fold=${fold} in the path"
        if differing != ["fold"]:
            remedy = "their folds are others, so train them again under the folds of this run"
        return f"were trained on validation cases of this run (theirs: {theirs}; here: {here}); {remedy}"
    if not same_cases and None not in prints:
        return (
            f"were trained on {source['data.name']} when it had other content, so whether on validation cases of this "
            "run is unknown; train them again"
        )
    return None
