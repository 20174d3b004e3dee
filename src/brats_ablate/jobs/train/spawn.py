"""`trainer.devices=N`: start N ranks of a run on this machine, one per device, and wait for them."""

from __future__ import annotations

import math
import multiprocessing
import os
import signal
import socket
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from multiprocessing.process import BaseProcess

from omegaconf import DictConfig, OmegaConf

from brats_ablate.errors import ConfigError, RunFailed
from brats_ablate.launch.sweep import configuration
from brats_ablate.runs.directory import RunDirectory, RunRecord
from brats_ablate.runs.state import RunState
from brats_ablate.runtime import signals
from brats_ablate.runtime.output import outlive_readers
from brats_ablate.runtime.ranks import world_size
from brats_ablate.runtime.workers import available_cores

_SIGNAL_CAUSES = {
    "SIGKILL": "; unless someone killed it, the machine ran out of memory",
    "SIGBUS": "; an open file or the machine's shared memory was lost or full",
}
_GRACE_S = 30.0  # for the other ranks to exit by themselves after one was lost


def must_start_ranks(cfg: DictConfig) -> bool:
    """Return True unless this process is itself one of several ranks (torchrun's, SLURM's, ours) or the run has one.

    torchrun with one process, and some containers, set WORLD_SIZE=1.
    """
    return int(cfg.trainer.devices) > 1 and world_size() == 1


def start_ranks(cfg: DictConfig, directory: RunDirectory) -> None:
    """Train the run that `cfg` describes with `trainer.devices` processes on this machine.

    Raises:
        ConfigError: this machine has too few GPUs; nothing was started.
        RunFailed: a rank failed; with the first recorded reason.
        Interrupted: the ranks were interrupted and have saved their state.
    """
    count = int(cfg.trainer.devices)
    if cfg.trainer.device != "cpu":
        from brats_ablate.training.device import require_gpus

        require_gpus(str(cfg.trainer.device), count)
    signals.install_handlers()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    context = multiprocessing.get_context("spawn")
    before = directory.status()
    ranks = [context.Process(target=_rank, args=(configuration(cfg), rank, count, port)) for rank in range(count)]
    for process in ranks:
        process.start()
    codes, first_failed = _wait(ranks)
    if first_failed is not None:
        error = ConfigError if ConfigError.exit_code in codes else RunFailed
        raise error(_cause(directory, before, first_failed, codes))
    if signals.EXIT_CODE in codes:
        raise signals.Interrupted


def _cause(directory: RunDirectory, before: RunRecord | None, rank: int, codes: Sequence[int]) -> str:
    """Return why the run failed, `rank` being the first that failed; record it if that rank was killed.

    The exit signal of a killed rank counts more than the errors of the other ranks, which only follow from it.
    """
    status = directory.status()
    if codes[rank] >= 0:
        reason = status.reason if status is not None and status != before else None  # else of an earlier start
        return reason or f"the ranks ended with exit codes {list(codes)}; see their messages above"
    name = signal.Signals(-codes[rank]).name
    cause = f"rank {rank} was killed by {name}{_SIGNAL_CAUSES.get(name, '')}"
    if status is not None:
        directory.write_status(replace(status, state=RunState.FAILED, reason=cause))
    return cause


def _rank(content: str, rank: int, count: int, port: int) -> None:
    from brats_ablate.jobs.execute import execute

    outlive_readers()
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank)}
    os.environ |= {"WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(count)}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    os.environ.pop("TORCHELASTIC_USE_AGENT_STORE", None)  # of a torchrun around all ranks, which serves only its own
    if "OMP_NUM_THREADS" not in os.environ:
        import torch

        torch.set_num_threads(max(1, available_cores() // count))
    cfg = OmegaConf.create(content)
    assert isinstance(cfg, DictConfig)
    sys.exit(execute(cfg))


def _wait(ranks: Sequence[BaseProcess]) -> tuple[list[int], int | None]:
    """Pass on a stop request, kill ranks some time after one failed; return exit codes and the first failed rank."""
    terminated, deadline, first_failed, any_alive = False, math.inf, None, True
    while any_alive:
        any_alive = any(process.is_alive() for process in ranks)
        if signals.stop_requested() and not terminated:
            terminated = True
            for process in ranks:
                process.terminate()  # SIGTERM: they save and stop
        if first_failed is None and (first_failed := _first_failed(ranks)) is not None:
            deadline = time.monotonic() + _GRACE_S
        if time.monotonic() > deadline:
            for process in ranks:
                process.kill()
        time.sleep(0.05)
    return [process.exitcode if process.exitcode is not None else 1 for process in ranks], first_failed


def _first_failed(ranks: Sequence[BaseProcess]) -> int | None:
    failed = [i for i, process in enumerate(ranks) if process.exitcode not in (None, 0, signals.EXIT_CODE)]
    killed = [i for i in failed if (ranks[i].exitcode or 0) < 0]
    return next(iter(killed or failed), None)
