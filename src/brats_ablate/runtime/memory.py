"""Memory: fast allocation of batch-sized CPU tensors, copies to a GPU, glibc's settings, peak usage."""

from __future__ import annotations

import ctypes
import gc
import platform
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch


def empty_float32(shape: tuple[int, ...], device: torch.device) -> torch.Tensor:
    """Allocate an uninitialized float32 tensor.

    On a CPU, NumPy allocates it, because it advises the kernel to back large arrays with huge pages. Torch does not,
    and the page faults of a fresh 32 MiB batch take five times as long as writing it.
    """
    if device.type == "cpu":
        return torch.from_numpy(np.empty(shape, dtype=np.float32))
    return torch.empty(shape, dtype=torch.float32, device=device)


def to_device(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Return the tensor on `device`, itself if it is there; the copy of a CPU tensor to a GPU does not block the host.

    A copy from pageable memory waits for all that the GPU has to do, so it is made from pinned memory, and on a stream
    of its own, beside the kernels that are queued.
    """
    if device.type != "cuda" or tensor.device.type != "cpu":
        return tensor.to(device)
    pinned = tensor if tensor.is_pinned() else tensor.pin_memory()
    current, copying = torch.cuda.current_stream(device), copy_stream(device)
    with within(copying):
        copy = pinned.to(device, non_blocking=True)
    current.wait_stream(copying)
    copy.record_stream(current)  # or its memory could be reused by the next copy while kernels still read it
    return copy


@contextmanager
def within(stream: torch.cuda.Stream) -> Iterator[None]:
    """Let this thread queue its work on `stream`.

    The current device of a new thread is the first GPU. `torch.cuda.stream` alone would return to it by a call that
    reserves memory there, on each rank.
    """
    with torch.cuda.device(stream.device), torch.cuda.stream(stream):
        yield


@lru_cache
def copy_stream(device: torch.device) -> torch.cuda.Stream:
    """Return the stream on which this process copies to `device`."""
    return torch.cuda.Stream(device)


_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4


def disable_malloc_trim() -> bool:
    """Make glibc reuse freed memory instead of returning it to the kernel; return whether it was possible.

    By default every tensor of some MiB is mapped again at each step, with page faults.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    libc = ctypes.CDLL(None)
    return bool(libc.mallopt(_M_MMAP_MAX, 0)) and bool(libc.mallopt(_M_TRIM_THRESHOLD, -1))


def reset_peak_memory(device: torch.device) -> None:
    """Free what earlier runs of this process left, and measure the peak from here on where the system allows it."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
        return
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).malloc_trim(0)  # what `disable_malloc_trim` made it keep
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak_memory_bytes(device: torch.device) -> int:
    """Return the peak memory use since `reset_peak_memory`: allocated on the GPU, or resident in the process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    with suppress(OSError):
        if match := re.search(r"^VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text(), re.M):
            return int(match[1]) * 1024
    import resource  # absent from Windows

    unit = 1 if platform.system() == "Darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
