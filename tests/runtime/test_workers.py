from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from brats_ablate.errors import WorkerKilled
from brats_ablate.runtime.workers import prefetch, process_map


@pytest.mark.parametrize("threads", [0, 1, 3])
def test_prefetch_keeps_the_order(threads: int) -> None:
    assert list(prefetch(lambda i: i * i, range(20), threads=threads, ahead=4)) == [i * i for i in range(20)]


def test_prefetch_takes_no_more_than_allowed_ahead() -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for i in range(10):
            taken.append(i)
            yield i

    results = prefetch(lambda i: i, items(), ahead=2)
    assert next(results) == 0
    assert taken == [0, 1, 2]
    results.close()
    assert taken == [0, 1, 2]


def test_prefetch_raises_at_the_turn_of_the_item() -> None:
    def load(i: int) -> int:
        if i == 2:
            raise OSError("lost")
        return i

    results = prefetch(load, range(5), ahead=3)
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(OSError, match="lost"):
        next(results)


def test_prefetch_loads_in_threads_that_end_with_the_iterator() -> None:
    names = list(prefetch(lambda _: threading.current_thread().name, range(3)))
    assert all(name.startswith("prefetch") for name in names)
    assert not any(t.name.startswith("prefetch") for t in threading.enumerate())


def process_of(_: int) -> int:
    return os.getpid()


def square(i: int) -> int:
    return i * i


def test_process_map_keeps_the_order_and_uses_other_processes() -> None:
    assert list(process_map(square, range(6), workers=2)) == [0, 1, 4, 9, 16, 25]
    assert os.getpid() not in set(process_map(process_of, range(4), workers=2))


def test_process_map_stays_in_this_process_with_one_worker() -> None:
    assert set(process_map(process_of, range(3), workers=1)) == {os.getpid()}


def killed_if_three(i: int) -> int:
    if i == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return i


def test_a_killed_worker_is_one_sentence() -> None:
    with pytest.raises(WorkerKilled, match=r"was killed, probably out of memory; .* with a smaller job\.workers"):
        list(process_map(killed_if_three, range(6), workers=2))


PROGRAM = """
import os, time
from brats_ablate.runtime.workers import process_map

def work(seconds):
    time.sleep(seconds)
    return os.getpid()

if __name__ == "__main__":
    results = process_map(work, [0, 60, 60], workers=2)
    print(next(results), flush=True)
    next(results)
"""


def test_process_map_workers_end_with_their_parent(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(PROGRAM)
    parent = subprocess.Popen([sys.executable, tmp_path / "program.py"], stdout=subprocess.PIPE, text=True)
    worker = int(parent.stdout.readline())
    assert is_alive(worker)
    parent.kill()
    parent.wait()
    deadline = time.monotonic() + 20
    while is_alive(worker) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not is_alive(worker)


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", maxsplit=1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False
