"""Locks of files (flock), which end with their process and so are never stale.

A file system without them, such as some NFS and Lustre mounts, is reported once; the command continues without a lock.
"""

from __future__ import annotations

import errno
import fcntl
import os
from io import TextIOWrapper
from pathlib import Path

from brats_ablate.runtime.output import warn_once

_UNSUPPORTED = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS)


def lock_file(path: Path) -> TextIOWrapper:
    """Open a lock file for reading and writing, created if missing. A link is refused, as its target would be changed.

    Raises:
        OSError: it is a link, or cannot be opened.
    """
    return open(path, "r+", encoding="utf-8", opener=_open_or_create)


def try_lock(stream: TextIOWrapper, *, shared: bool = False) -> bool:
    """Take the lock of an open file, without waiting; return False if another process has it."""
    return _flock(stream, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)


def wait_for_lock(stream: TextIOWrapper) -> None:
    """Take the lock of an open file as soon as no other process has it."""
    _flock(stream, fcntl.LOCK_EX)


def _open_or_create(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CREAT | os.O_NOFOLLOW, 0o666)  # the umask decides whether colleagues may lock


def _flock(stream: TextIOWrapper, kind: int) -> bool:
    try:
        fcntl.flock(stream.fileno(), kind)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in _UNSUPPORTED:
            raise OSError(error.errno, error.strerror, stream.name) from error
        warn_once(
            f"the file system of {os.path.dirname(str(stream.name))} has no locks; nothing here prevents two commands "
            "from training the same run, or from preparing the same data, at the same time: start each only once"
        )
    return True
