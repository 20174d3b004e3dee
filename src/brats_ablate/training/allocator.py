"""The C library's memory settings that a 3-D network's large, short-lived tensors want."""

from __future__ import annotations

import ctypes
import platform

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4


def keep_freed_memory() -> bool:
    """Let glibc reuse freed memory instead of returning it, page by page, to the kernel. Returns whether it did.

    By default every tensor of some MiB is mapped afresh and its pages are faulted in again at each step.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    libc = ctypes.CDLL(None)
    return bool(libc.mallopt(_M_MMAP_MAX, 0)) and bool(libc.mallopt(_M_TRIM_THRESHOLD, -1))
