"""A rank or a read that hangs ends the run after `trainer.hang_minutes`, with a status that names both."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from brats_ablate.runs.directory import RunDirectory
from brats_ablate.runs.state import RunState

pytestmark = pytest.mark.slow(minutes=1)
Command = Callable[..., subprocess.CompletedProcess[str]]
RUN = ("+experiment=baseline", "fold=0", "lr=0.001", "trainer.epochs=4", "job._target_=hanging.train.run")
TWO_RANKS = ("trainer.ranks=2", "trainer.devices=2")
HANGING = """
import os, signal, time
from brats_ablate.data import blosc2_io
from brats_ablate.jobs import train
from brats_ablate.losses.total_loss import TotalLoss
from brats_ablate.training.distributed import DistributedContext
fault, rank, fifo = os.environ["FAULT"], int(os.environ.get("RANK", "0")), os.environ["FIFO"]
read_array, call, any_rank = blosc2_io.read_array, TotalLoss.__call__, DistributedContext.any
steps = iter(range(100))
def read_from_a_lost_server(path, *arguments):
    if rank == fault_rank() and next(steps) >= 12:
        open(fifo).read()  # nobody writes: blocks in the kernel
    return read_array(path, *arguments)
def fault_rank():
    return int(fault.split()[1])
def loss(self, *arguments):
    if rank == fault_rank() and next(steps) >= 5:
        time.sleep(600)
    return call(self, *arguments)
def wait_for_ranks(self, *arguments):
    if rank == fault_rank() and next(steps) >= 5:
        time.sleep(6)  # the other rank has seen the mark of a rank that only waits
        os.kill(os.getpid(), signal.SIGSTOP)
    return any_rank(self, *arguments)
def run(cfg):
    if "reads" in fault:
        blosc2_io.read_array = read_from_a_lost_server
    elif "stopped" in fault:
        DistributedContext.any = wait_for_ranks
    else:
        TotalLoss.__call__ = loss
    train.run(cfg)
"""


@pytest.fixture(autouse=True)
def stand_in(importable: Callable[[str, str], None]) -> None:
    importable("hanging.train", HANGING)


@pytest.mark.parametrize(
    ("ranks", "fault", "reason"),
    [
        ((), "rank 0 reads", "the run made no progress for 0.3 minutes (last: reading case Phantom_"),
        (TWO_RANKS, "rank 1 sleeps", "rank 1 made no progress for 0.3 minutes (last: forward); check its file system"),
        (TWO_RANKS, "rank 0 is stopped", "rank 0 made no progress for 0.3 minutes (last: "),
    ],
)
def test_a_hanging_rank_is_named(
    brats_ablate: Command, run: RunDirectory, tmp_path: Path, ranks: tuple[str, ...], fault: str, reason: str
) -> None:
    os.mkfifo(tmp_path / "fifo")
    done = brats_ablate(*RUN, *ranks, "trainer.hang_minutes=0.3", FAULT=fault, FIFO=str(tmp_path / "fifo"))
    assert done.returncode == 1, done.stdout
    status = run.status()
    assert status.state == RunState.FAILED
    assert str(status.reason).startswith(reason), status.reason
    assert f"brats-ablate: {reason}" in done.stdout
    assert "Traceback" not in done.stdout
