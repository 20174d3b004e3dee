"""Background work: one look-ahead reader on threads, one map over processes."""

from __future__ import annotations

import multiprocessing
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from brats_ablate.errors import WorkerKilled

Item = TypeVar("Item")
Result = TypeVar("Result")


def available_cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def prefetch(
    load: Callable[[Item], Result], items: Iterable[Item], *, threads: int = 1, ahead: int = 1
) -> Generator[Result, None, None]:
    """Yield `load(item)` for each item, in order, while threads already load the next ones.

    `load` should release the interpreter lock while it works; 0 threads load in the caller's thread. Items are taken
    lazily, at most `ahead` beyond the one that is yielded.

    Raises:
        Whatever `load` raised, at the turn of its item. Closing the iterator stops the threads.
    """
    if threads == 0:
        yield from map(load, items)
        return
    pool = ThreadPoolExecutor(threads, thread_name_prefix="prefetch")
    pending: deque[Future[Result]] = deque()
    try:
        for item in items:
            pending.append(pool.submit(load, item))
            if len(pending) > ahead:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def process_map(function: Callable[[Item], Result], items: Sequence[Item], *, workers: int | None) -> Iterator[Result]:
    """Yield `function(item)` for each item, in order, computed by worker processes; None for one per available core.

    Function and items must be picklable. If one worker is enough, it is this process.

    Raises:
        WorkerKilled: a worker was killed, for example by the system for want of memory.
        Whatever `function` raised, at the turn of its item.
    """
    workers = min(workers or available_cores(), len(items))
    if workers <= 1:
        yield from map(function, items)
        return
    # Spawned, not forked: a fork of a process with threads (a progress bar, a math library) can hang.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, context, initializer=_exit_with_parent, initargs=(os.getpid(),))
    try:
        yield from pool.map(function, items)
    except BrokenProcessPool as error:
        raise WorkerKilled(
            "a worker process was killed, probably out of memory; run the same command again with a smaller job.workers"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _exit_with_parent(parent: int) -> None:
    """Watch the parent process: after a kill −9 nothing else would end a worker."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.2)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
