from __future__ import annotations

import threading
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from brats_ablate.runtime import threads
from brats_ablate.runtime.threads import parallel_for


@pytest.fixture(params=[1, 2, 3])
def thread_count(request: pytest.FixtureRequest) -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


@pytest.fixture(params=["torch's pool", "no pool"])
def pool(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "no pool":
        monkeypatch.setattr(threads, "torch_openmp", lambda: None)
    return str(request.param)


@pytest.mark.parametrize("length", [0, 1, 10])
def test_every_part_is_done_once_and_results_are_in_order(thread_count: int, pool: str, length: int) -> None:
    done = np.zeros(length, int)

    def work(start: int, end: int) -> range:
        done[start:end] += 1
        return range(start, end)

    for _ in range(50):
        parts = parallel_for(length, work)
        assert len(parts) == thread_count
        assert [i for part in parts for i in part] == list(range(length))
    assert done.tolist() == [50] * length


@pytest.mark.skipif(threads.torch_openmp() is None, reason="torch has another OpenMP than GNU's here")
@pytest.mark.parametrize("thread_count", [2, 3], indirect=True)
def test_parts_run_side_by_side(thread_count: int) -> None:
    meeting = threading.Barrier(thread_count, timeout=20)
    parallel_for(10, lambda *_: meeting.wait())
    assert not meeting.broken


def test_torch_keeps_computing_with_the_same_threads(thread_count: int) -> None:
    x = torch.randn(300, 300)
    before = x @ x
    parallel_for(10, lambda *_: None)
    assert torch.equal(x @ x, before)
    assert torch.get_num_threads() == thread_count


def test_what_a_part_raises_is_raised_when_all_have_ended(thread_count: int, pool: str) -> None:
    done: list[int] = []

    def work(start: int, end: int) -> None:
        if end == thread_count:
            raise ValueError("in the last part")
        done.append(start)

    with pytest.raises(ValueError, match="in the last part"):
        parallel_for(thread_count, work)
    assert sorted(done) == list(range(thread_count - 1))


def test_several_python_threads_may_run_loops_at_once() -> None:
    sums: list[int] = []

    def many() -> None:
        for _ in range(30):
            sums.append(sum(parallel_for(100, lambda start, end: end - start)))

    at_once = [threading.Thread(target=many) for _ in range(3)]
    for thread in at_once:
        thread.start()
    for thread in at_once:
        thread.join()
    assert sums == [100] * 90
