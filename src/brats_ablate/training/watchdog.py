"""Ends a run that hangs, and records which rank hangs and what it last did.

A hanging main thread (a blocked read of a lost file server, a collective that a rank never joins) cannot report
anything. So each rank has two threads: one exchanges the marks of progress with the other ranks, and one ends the
process when no rank has made progress for `trainer.hang_minutes`. It counts its own waking time, so a suspended job
does not count as a hanging one. A rank whose threads do not answer is the one that hangs, whatever its last mark says.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta

from torch.distributed import Store, TCPStore  # type: ignore[attr-defined] # public, but not in __all__

from brats_ablate.runs.directory import RunDirectory
from brats_ablate.runs.state import RunState
from brats_ablate.runtime.activity import Activity, Mark
from brats_ablate.runtime.files import to_json
from brats_ablate.runtime.output import print_message
from brats_ablate.training.distributed import DistributedContext
from brats_ablate.training.failure import write_failure
from brats_ablate.training.watched import WatchedContext

_MOST_SECONDS_BETWEEN_LOOKS = 10.0
_LOOKS_WITHOUT_ANSWER = 5
"""After so many looks without an answer, a rank is lost. More than the two for which a rank that ends waits."""
_RECORDING_S = 10.0
"""Time to write the status; a file system that hangs must not keep the process from ending."""


@contextmanager
def watch_for_hang(
    directory: RunDirectory, ranks: DistributedContext, minutes: float, epochs: int
) -> Iterator[WatchedContext]:
    """Yield `ranks` as a context whose `activity` is watched until it ends, or the block. A collective.

    When no rank has made progress for `minutes`, the run's status is FAILED, unless it was trained to its end or saved
    and interrupted before, and all ranks end with exit code 1.
    """
    watched = WatchedContext(ranks.rank, ranks.world_size, ranks.control, Activity())
    marks, answers = [watched.activity.last] * ranks.world_size, [0] * ranks.world_size
    ended = watched.activity.ended
    interval_s = min(_MOST_SECONDS_BETWEEN_LOOKS, 6 * minutes)

    def exchange(store: Store) -> None:
        while not ended.wait(interval_s):
            with suppress(RuntimeError):  # of a store whose rank ended or hangs: the marks stay as they were
                store.set(str(ranks.rank), to_json((answers[ranks.rank], _readable(watched.activity.last))))
                for rank in set(range(ranks.world_size)) - {ranks.rank}:
                    answers[rank], marks[rank] = _parse(store.get(str(rank)))

    def look() -> None:
        silent_s, before, unanswered = 0.0, (list(marks), list(answers)), [0] * ranks.world_size
        while not ended.wait(interval_s):
            marks[ranks.rank] = _readable(watched.activity.last)
            answers[ranks.rank] += 1
            silent_s = silent_s + interval_s if _times(marks) == _times(before[0]) else 0.0
            unanswered = [
                looks + 1 if now == then else 0 for looks, now, then in zip(unanswered, answers, before[1], strict=True)
            ]
            before = list(marks), list(answers)
            if silent_s >= 60 * minutes:
                lost = [rank for rank, looks in enumerate(unanswered) if looks >= _LOOKS_WITHOUT_ANSWER]
                end_process(directory, hang_reason(marks, minutes, lost), epochs, 2 * interval_s)

    targets = [threading.Thread(target=look, daemon=True)]
    if ranks.world_size > 1:
        store = _connect(ranks, to_json((0, watched.activity.last)))
        targets.append(threading.Thread(target=exchange, args=(store,), daemon=True))
    for thread in targets:
        thread.start()
    try:
        yield watched
    finally:
        ended.set()
        for thread in targets:
            thread.join(timeout=1)


def hang_reason(marks: Sequence[Mark], minutes: float, lost: Sequence[int] = ()) -> str:
    """Return which rank hangs and what it last did, as a sentence.

    `marks` are those of the ranks; `lost` are the ranks that no longer answer. The first of these hangs: without
    rank 0, which serves the marks, the others do not answer either. If all answer, it is a rank that does not wait
    for the others: of those with the fewest finished steps, the one whose last progress is the oldest.
    """
    since = f"no progress for {minutes:g} minutes"
    remedy = "then run the same command again; trainer.hang_minutes sets this limit"
    if lost:
        who, doing = f"rank {lost[0]} made {since}", marks[lost[0]].doing
        return f"{who} (last: {doing}) and does not answer; check its process, node and network, {remedy}"
    busy = [rank for rank, mark in enumerate(marks) if not mark.waits_for_ranks]
    if not busy:
        return f"{since}: each rank waits for the others; check the network, {remedy}"
    rank = min(busy, key=lambda r: (marks[r].step, marks[r].at))
    who = f"rank {rank} made {since}" if len(marks) > 1 else f"the run made {since}"
    return f"{who} (last: {marks[rank].doing}); check its file system and device, {remedy}"


def _connect(ranks: DistributedContext, first_mark: str) -> Store:
    """Return a store of all ranks, on the first one, that contains a mark of each. A collective.

    It is not the store of the process group, whose calls block each other.
    """
    address, timeout = os.environ["MASTER_ADDR"], timedelta(seconds=60)
    served = TCPStore(address, 0, is_master=True, timeout=timeout) if ranks.is_main_process else None
    port = ranks.gather(served.port if served else 0)[0]
    store = served or TCPStore(address, port, is_master=False, timeout=timeout)
    store.set(str(ranks.rank), first_mark)
    ranks.barrier()
    return store


def end_process(directory: RunDirectory, reason: str, epochs: int, patience_s: float) -> None:
    """Record the reason and end this process; `patience_s` later, so that the other ranks can see the same."""

    def record() -> None:
        write_failure(directory, reason, epochs, keep=(RunState.FINISHED, RunState.INTERRUPTED))
        print_message(reason)

    recorder = threading.Thread(target=record, daemon=True)
    recorder.start()
    recorder.join(_RECORDING_S)
    time.sleep(patience_s)
    os._exit(1)  # the main thread, which hangs, cannot be ended otherwise


def _readable(mark: Mark) -> Mark:
    """Return the mark with what is read now, which only its own process can say."""
    return mark._replace(doing=str(mark))


def _parse(content: bytes) -> tuple[int, Mark]:
    answers, mark = json.loads(content)
    return int(answers), Mark(*mark)


def _times(marks: Sequence[Mark]) -> list[tuple[int, float]]:
    return [(mark.step, mark.at) for mark in marks]
