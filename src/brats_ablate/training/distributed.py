"""The processes that train one run together (PyTorch DDP), wherever they came from.

torchrun sets RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR and MASTER_PORT; our SLURM launcher sets the same from its
tasks, and `trainer.devices=N` from the processes it starts. After that there is one code path. Gradients travel by NCCL
or gloo; what the ranks tell each other besides travels by gloo, so that it never waits for the GPU's queue.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist


@dataclass(frozen=True)
class DistributedContext:
    """This process among its peers. A single process is rank 0 of 1 and communicates with nobody."""

    rank: int = 0
    world_size: int = 1
    control: dist.ProcessGroup | None = None

    @property
    def is_main_process(self) -> bool:
        """Whether this rank writes the run's files."""
        return self.rank == 0

    def any(self, *flags: bool) -> tuple[bool, ...]:
        """For each flag, whether any rank raised it. A collective: every rank must call it."""
        if self.world_size == 1:
            return flags
        raised = torch.tensor(flags, dtype=torch.uint8)
        dist.all_reduce(raised, dist.ReduceOp.MAX, group=self.control)
        return tuple(bool(flag) for flag in raised)

    def mean(self, values: list[float]) -> list[float]:
        """The mean over the ranks of each value, in float64. A collective: every rank must hold equally many."""
        if self.world_size == 1:
            return values
        total = torch.tensor(values, dtype=torch.float64)
        dist.all_reduce(total, group=self.control)
        return (total / self.world_size).tolist()

    def gather(self, item: Any) -> list[Any]:
        """Every rank's item, in rank order, on every rank. A collective."""
        if self.world_size == 1:
            return [item]
        items: list[Any] = [None] * self.world_size
        dist.all_gather_object(items, item, group=self.control)
        return items

    def barrier(self) -> None:
        """Wait until every rank is here. A collective."""
        if self.world_size > 1:
            dist.barrier(group=self.control)

    def wrap(self, model: torch.nn.Module, device: torch.device) -> torch.nn.Module:
        """`model` with gradients averaged over ranks; the model itself for a single process."""
        if self.world_size == 1:
            return model
        ids = [device.index] if device.type == "cuda" else None
        # find_unused_parameters: nothing is unused, but without it DDP rearranges its buckets after the first step of a
        # process, and with more than two ranks a resumed run would sum gradients in another order.
        return torch.nn.parallel.DistributedDataParallel(
            model, device_ids=ids, gradient_as_bucket_view=True, find_unused_parameters=True
        )


def local_rank() -> int:
    """This process's number among those on its machine, as the environment says; 0 for a single process."""
    return int(os.environ.get("LOCAL_RANK", "0"))


@contextmanager
def distributed_context(use_cuda: bool, timeout_minutes: float = 30) -> Iterator[DistributedContext]:
    """Join the process group that the environment describes, and leave it at the end; alone if it describes none."""
    world_size = int(os.environ.get("WORLD_SIZE", "1"))
    if world_size == 1:
        yield DistributedContext()
        return
    timeout = timedelta(minutes=timeout_minutes)
    dist.init_process_group("nccl" if use_cuda else "gloo", timeout=timeout)
    try:
        control = dist.new_group(backend="gloo", timeout=timeout)
        yield DistributedContext(dist.get_rank(), world_size, control)
    finally:
        dist.destroy_process_group()
