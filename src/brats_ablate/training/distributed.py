"""The processes that train one run together (PyTorch DDP).

torchrun sets RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR and MASTER_PORT; so do our SLURM launcher for its tasks and
`trainer.devices=N` for the processes it starts. From there on there is one code path. Gradients are reduced by NCCL or
gloo, all other communication uses gloo, which never waits for the GPU's queue.
"""

from __future__ import annotations

import faulthandler
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist

from brats_ablate.errors import ConfigError
from brats_ablate.runtime.ranks import world_size
from brats_ablate.runtime.signals import Interrupted

Item = TypeVar("Item")

LEAVING_S = 15
"""After which a rank that failed no longer waits for NCCL, which ends at once where no other rank waits for it."""


@dataclass(frozen=True)
class DistributedContext:
    """This process among its peers; a single process is rank 0 of 1."""

    rank: int = 0
    world_size: int = 1
    control: dist.ProcessGroup | None = None

    @property
    def is_main_process(self) -> bool:
        """True for the rank that writes the run's files."""
        return self.rank == 0

    def any(self, *flags: bool) -> tuple[bool, ...]:
        """Return for each flag whether it is true on any rank. A collective: every rank must call it."""
        if self.world_size == 1:
            return flags
        on_any = torch.tensor(flags, dtype=torch.uint8)
        dist.all_reduce(on_any, dist.ReduceOp.MAX, group=self.control)
        return tuple(bool(flag) for flag in on_any)

    def mean(self, values: list[float]) -> list[float]:
        """Return the mean of each value over the ranks, in float64. A collective: every rank passes equally many."""
        if self.world_size == 1:
            return values
        total = torch.tensor(values, dtype=torch.float64)
        dist.all_reduce(total, group=self.control)
        means: list[float] = (total / self.world_size).tolist()
        return means

    def gather(self, item: Item) -> list[Item]:
        """Return every rank's item, in rank order, on every rank. A collective."""
        if self.world_size == 1:
            return [item]
        items = [item] * self.world_size
        dist.all_gather_object(items, item, group=self.control)
        return items

    def barrier(self) -> None:
        """Wait for every rank. A collective."""
        if self.world_size > 1:
            dist.barrier(group=self.control)

    def wrap(self, model: torch.nn.Module, device: torch.device) -> torch.nn.Module:
        """Wrap `model` so that gradients are averaged over ranks; return it unchanged for a single process."""
        if self.world_size == 1:
            return model
        ids = [device.index] if device.type == "cuda" else None
        return torch.nn.parallel.DistributedDataParallel(model, device_ids=ids, gradient_as_bucket_view=True)

    def broadcast_buffers(self, model: torch.nn.Module) -> None:
        """Give every rank the first rank's buffers that are saved, such as running statistics. A collective.

        DDP does so at the start of the next training step, but a rank validates before that.
        """
        if self.world_size == 1:
            return
        saved = model.state_dict()
        for name, _ in model.named_buffers():
            if name in saved:
                dist.broadcast(saved[name], src=0)

    def settle(self, model: torch.nn.Module, backward: Callable[[], None]) -> None:
        """Let DDP arrange its buckets by one `backward` of the wrapped `model`, and discard its results. A collective.

        In its first backward pass, DDP reduces all gradients at once, and arranges buckets that overlap with the later
        ones. Without this, the first step after a resume would sum the gradients in another order than the steps of an
        uninterrupted run. Does nothing for a single process.

        Raises:
            ConfigError: a parameter gets no gradient, which DDP would wait for; names it.
        """
        if self.world_size == 1:
            return
        buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}  # such as running statistics
        backward()
        idle = [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None]
        if idle:
            raise ConfigError(
                f"the loss does not depend on {idle[0]} of the network ({len(idle)} such parameters), which several "
                "ranks cannot train; remove it, set its requires_grad to False, or train with trainer.ranks=1"
            )
        model.zero_grad(set_to_none=True)
        for name, buffer in model.named_buffers():
            buffer.copy_(buffers[name])


@contextmanager
def distributed_context(device: torch.device, timeout_minutes: float = 30) -> Iterator[DistributedContext]:
    """Join the process group that the environment describes, if any, and leave it at the end."""
    size = world_size()
    if size == 1:
        yield DistributedContext()
        return
    timeout = timedelta(minutes=timeout_minutes)
    on_gpu = device.type == "cuda"
    dist.init_process_group("nccl" if on_gpu else "gloo", timeout=timeout, device_id=device if on_gpu else None)
    leave: Callable[[], None] = dist.destroy_process_group
    try:
        control = dist.new_group(backend="gloo", timeout=timeout)
        yield DistributedContext(dist.get_rank(), size, control)
    except Interrupted:  # all ranks are, at the same step
        raise
    except BaseException:
        leave = _leave_without_peers if on_gpu else leave
        raise
    finally:
        leave()


def _leave_without_peers() -> None:
    """Leave the group after an error that the other ranks may not have: NCCL would wait for them until they time out.

    If it does, this process ends soon, so that whatever started the ranks ends the others.
    """
    # A thread of the C library, as nothing of Python's runs once the interpreter itself waits for NCCL.
    faulthandler.dump_traceback_later(2 * LEAVING_S, exit=True, file=os.open(os.devnull, os.O_WRONLY))
    leaving = threading.Thread(target=dist.destroy_process_group, daemon=True)
    leaving.start()
    leaving.join(LEAVING_S)
    if not leaving.is_alive():
        faulthandler.cancel_dump_traceback_later()
