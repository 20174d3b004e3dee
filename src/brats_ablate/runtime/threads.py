"""Compiled loops shared out over the threads that torch computes with.

A pool of our own would be in torch's way: its threads go on looking for work for milliseconds after each operation, and
keep their cores busy with it. Entering torch's own pool costs microseconds. It is GNU OpenMP's, which torch's packages
for Linux bring along, so there is none to enter elsewhere.
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
def _openmp() -> ctypes.CDLL | None:
    """The library that torch itself has loaded; None where it uses another."""
    bundled = sorted((Path(torch.__file__).parent / "lib").glob("libgomp*.so*"))
    try:
        library = ctypes.CDLL(str(bundled[0]))
        library.GOMP_parallel.argtypes = (_Region, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint)
        library.GOMP_parallel.restype = None
    except (IndexError, OSError, AttributeError):
        return None
    return library


def available() -> bool:
    """Whether `share_out` has more than the calling thread to work with, or torch has no more either."""
    return torch.get_num_threads() == 1 or _openmp() is not None


def parallel_for(length: int, work: Callable[[int, int], Result]) -> list[Result]:
    """Calls `work(start, end)` for consecutive parts of `range(length)`, on torch's threads where it has GNU's.

    There are as many parts as torch has threads, whoever does them, so a sum over the results, which come in the order
    of the parts, does not depend on that. `work` should spend its time without the interpreter lock.

    Raises:
        What a part raised, when all have ended.
    """
    parts, library = torch.get_num_threads(), _openmp()
    bounds = [length * part // parts for part in range(parts + 1)]
    if parts == 1 or library is None:
        return [work(start, end) for start, end in pairwise(bounds)]
    results: dict[int, Result] = {}
    faults: list[BaseException] = []

    def region(_: int | None) -> None:
        first, threads = library.omp_get_thread_num(), library.omp_get_num_threads()
        try:
            for part in range(first, parts, threads):
                results[part] = work(bounds[part], bounds[part + 1])
        except BaseException as fault:  # nothing may leave a function that C calls
            faults.append(fault)

    library.GOMP_parallel(_Region(region), None, parts, 0)
    if faults:
        raise faults[0]
    return [results[part] for part in range(parts)]
