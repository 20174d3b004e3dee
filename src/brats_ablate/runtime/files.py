"""Files that appear as a whole or not at all, whatever is killed and however full the disk is."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """A temporary name beside `path`: renamed to it if the block succeeds, removed if it does not."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        with temporary.open("rb") as stream:
            os.fsync(stream.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # the disk, the user's quota, the process's limit
LOST = (errno.ESTALE, errno.EIO, errno.ENOTCONN, errno.EREMOTEIO, errno.ESHUTDOWN, errno.ENODEV, errno.EROFS)
"""An NFS server that was exchanged, a failing disk, a FUSE server that ended, a disk that went read-only."""


def os_error_remedy(error: OSError) -> str:
    """What to do about `error`."""
    if error.errno in FULL:
        return "free some space"
    if error.errno in LOST:
        return "the file system is lost or failing; bring it back"
    return "check path and rights"


def os_error_message(error: OSError) -> str | None:
    """What the file system refused and the remedy; None if it does not say, or is no fault of a file."""
    if error.errno in FULL or error.errno in LOST:
        where = error.filename or "a file of this run"
        return f"{error.strerror}: {where}; {os_error_remedy(error)} and run the same command again"
    if error.errno is None or error.filename is None:
        return None
    return f"{error.strerror}: {error.filename}; {os_error_remedy(error)}"


def os_error_behind(error: BaseException) -> OSError | None:
    """The file system's error behind one that a library raised in its place; None if there is none."""
    found: BaseException | None = error
    while found is not None and not isinstance(found, OSError):
        found = found.__cause__ or found.__context__
    return found


def with_filename(error: OSError, path: object) -> OSError:
    """The same error, naming the file: reading and writing an open file does not."""
    return OSError(error.errno, error.strerror, str(path))
