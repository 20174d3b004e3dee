"""Atomic file writes, JSON files, and actionable messages for file system errors."""

from __future__ import annotations

import errno
import json
import math
import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson

from brats_ablate.errors import Unreadable

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # the disk, the user's quota, the process's limit
_LOST = ("ESTALE", "EIO", "ENOTCONN", "EREMOTEIO", "ESHUTDOWN", "ENODEV", "EROFS")
LOST = tuple(getattr(errno, name) for name in _LOST if hasattr(errno, name))  # macOS has no EREMOTEIO
"""An NFS server that was replaced, a failing disk, a FUSE server that ended, a disk that became read-only."""

_DECODER = json.JSONDecoder(parse_constant=lambda _: None)
"""Reads the Infinity and NaN in files of earlier versions as null."""


@contextmanager
def atomic_write(path: Path, *, make_folder: bool = True) -> Iterator[Path]:
    """Yield a temporary path next to `path`: renamed to it if the block succeeds, removed if it does not."""
    if make_folder:
        path.parent.mkdir(parents=True, exist_ok=True)
    # Random, as process ids occur twice: in two containers, or on two nodes.
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}.tmp")
    try:
        yield temporary
        with temporary.open("rb") as stream:
            os.fsync(stream.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str, *, make_folder: bool = True) -> None:
    """Replace a text file atomically."""
    with atomic_write(path, make_folder=make_folder) as temporary:
        temporary.write_text(text, encoding="utf-8")


def to_json(content: object, **options: Any) -> str:
    """Return JSON text; `options` are those of `json.dumps`. All JSON of this package is written by it.

    Raises:
        ValueError: a number is infinite or NaN, for which JSON has no text.
    """
    return json.dumps(content, allow_nan=False, **options)  # noqa: TID251


def finite_or_null(content: Any) -> Any:
    """Return a copy of plain containers in which None replaces infinite numbers and NaN: measured, but no number."""
    if isinstance(content, Mapping):
        return {key: finite_or_null(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [finite_or_null(item) for item in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content


def write_json(path: Path, content: Mapping[str, Any], *, make_folder: bool = True) -> None:
    """Replace a JSON file atomically.

    Raises:
        ValueError: a number is infinite or NaN.
    """
    write_text(path, to_json(content, indent=1) + "\n", make_folder=make_folder)


def read_json(path: Path) -> dict[str, Any]:
    """Return the object in a JSON file; {} if there is no file.

    Raises:
        Unreadable: it holds anything else.
    """
    try:
        text = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return {}
    with readable(path):
        return parse_object(text)


@contextmanager
def readable(path: Path, remedy: str | None = None) -> Iterator[None]:
    """Turn what a block raises for wrong content of `path` into Unreadable; `remedy` is as there."""
    try:
        yield
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        reason = f"lacks {error}" if isinstance(error, KeyError) else error
        raise (Unreadable(path, reason, remedy) if remedy else Unreadable(path, reason)) from error


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """Return the complete lines of a JSONL file; [] if there is no file. Skips a last line without its line end.

    Raises:
        ValueError: a line is no JSON object.
    """
    if not path.exists():
        return []
    *lines, _ = path.read_bytes().split(b"\n")
    return [parse_object(line) for line in lines if line]


def parse_object(text: bytes) -> dict[str, Any]:
    """Return the object of a JSON text, with null for Infinity and NaN.

    Raises:
        ValueError: the text is no JSON object.
    """
    try:
        content: dict[str, Any] = orjson.loads(text)
    except orjson.JSONDecodeError:  # also what earlier versions wrote for Infinity and NaN
        content = _DECODER.decode(text.decode())
    if not isinstance(content, dict):
        raise ValueError(f"a JSON {type(content).__name__}, not an object")
    return content


def os_error_remedy(error: OSError) -> str:
    """Return what to do about a file system error."""
    if error.errno in FULL:
        return "free some space"
    if error.errno in LOST:
        return "the file system is lost or failing; bring it back"
    return "check path and permissions"


def os_error_message(error: OSError) -> str | None:
    """Return the failed operation and its remedy as one sentence; None if the error is not file-related."""
    if error.errno in FULL or error.errno in LOST:
        where = f": {error.filename}" if error.filename else ""
        return f"{error.strerror}{where}; {os_error_remedy(error)} and run the same command again"
    if error.errno is None or error.filename is None:
        return None
    return f"{error.strerror}: {error.filename}; {os_error_remedy(error)}"


def os_error_behind(error: BaseException) -> OSError | None:
    """Return the OSError that caused a library's error; None if there is none."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, OSError):
        cause = cause.__cause__ or cause.__context__
    return cause


def with_filename(error: OSError, path: object) -> OSError:
    """Return the same error with a file name, which operations on an open file leave out."""
    return OSError(error.errno, error.strerror, str(path))
