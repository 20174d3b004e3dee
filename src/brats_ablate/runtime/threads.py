"""Parallel compiled loops on torch's threads.

A second pool would oversubscribe the cores, because OpenMP threads busy-wait for milliseconds after each operation.
Entering torch's own pool costs microseconds. It is GNU OpenMP's, which torch's packages for Linux contain; elsewhere
loops run on the calling thread.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import TypeVar

import torch

Result = TypeVar("Result")

_Region = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


@lru_cache(maxsize=1)
def torch_openmp() -> ctypes.CDLL | None:
    """Return the OpenMP library that torch has loaded; None if it is not GNU's."""
    bundled = sorted((Path(torch.__file__).parent / "lib").glob("libgomp*.so*"))
    try:
        library = ctypes.CDLL(str(bundled[0]))
        library.GOMP_parallel.argtypes = (_Region, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint)
        library.GOMP_parallel.restype = None
    except (IndexError, OSError, AttributeError):
        return None
    return library


def available() -> bool:
    """Return True if `parallel_for` can use as many threads as torch."""
    return torch.get_num_threads() == 1 or torch_openmp() is not None


def parallel_for(length: int, work: Callable[[int, int], Result]) -> list[Result]:
    """Call `work(start, end)` for consecutive parts of `range(length)`, on torch's threads if they are GNU OpenMP's.

    The work is split into `torch.get_num_threads()` parts regardless of how many threads run them, and results are in
    the order of the parts, so sums over them are deterministic. `work` should release the interpreter lock.

    Raises:
        BaseException: the first one raised by a part, after all have ended.
    """
    parts, library = torch.get_num_threads(), torch_openmp()
    bounds = [length * part // parts for part in range(parts + 1)]
    if parts == 1 or library is None:
        return [work(start, end) for start, end in pairwise(bounds)]
    results: dict[int, Result] = {}
    errors: list[BaseException] = []

    def region(_: int | None) -> None:
        first, threads = library.omp_get_thread_num(), library.omp_get_num_threads()
        try:
            for part in range(first, parts, threads):
                results[part] = work(bounds[part], bounds[part + 1])
        except BaseException as error:  # an exception must not leave a function called from C
            errors.append(error)

    library.GOMP_parallel(_Region(region), None, parts, 0)
    if errors:
        raise errors[0]
    return [results[part] for part in range(parts)]
