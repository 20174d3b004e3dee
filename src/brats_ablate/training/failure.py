"""Why a training run failed, put on record by the rank that knows it. Part of `job=train`."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from brats_ablate.errors import RunFailed, UserError
from brats_ablate.runs.directory import FAILED, PEER_LOST, RunDirectory, RunRecord
from brats_ablate.runtime import files, signals

if TYPE_CHECKING:
    from brats_ablate.training.distributed import DistributedContext

_OF_A_LOST_PEER = (  # gloo's, the store's and NCCL's words
    "closed by peer", "reset by peer", "broken pipe", "likely closed", "remote process", "timed out waiting",
)  # fmt: skip


@contextmanager
def failure_on_record(directory: RunDirectory, ranks: DistributedContext, epochs: int) -> Iterator[None]:
    """Write why the run failed into its status, whichever rank it was; the first reason stays.

    A rank that dies takes the others' connection with it, and they fail in consequence: their reason is not the cause.

    Raises:
        RunFailed: in place of an error that is no bug of ours and does not say it itself: out of memory, a peer that is
            gone, a file that is missing because the run's directory vanished.
    """
    try:
        with _vanished_directory_told(directory):
            yield
    except signals.Interrupted:
        raise
    except Exception as error:
        reason = _reason(error)
        rank = ranks.rank if not isinstance(error, RunFailed) or error.rank is None else error.rank
        before = _put_on_record(directory, f"rank {rank}: {reason}" if ranks.world_size > 1 else reason, epochs)
        if isinstance(error, UserError | OSError):
            raise
        if before is not None:
            raise RunFailed(f"stopped, because another rank failed: {before}") from error
        if _is_out_of_memory(error) or reason == PEER_LOST:
            raise RunFailed(reason) from error
        raise


@contextmanager
def _vanished_directory_told(directory: RunDirectory) -> Iterator[None]:
    try:
        yield
    except OSError:
        directory.ensure_exists()
        raise


def _put_on_record(directory: RunDirectory, reason: str, epochs: int) -> str | None:
    """Write the status, unless the cause is there already, which is returned; the caller's own error must not be lost.

    A run whose directory vanished has no record: to make one would begin a second directory in its place.
    """
    with contextlib.suppress(OSError, RunFailed):
        before = directory.status() or RunRecord(FAILED, epochs=epochs)
        if before.state == FAILED and before.names_cause:
            return before.reason
        if directory.path.is_dir():
            directory.write_status(RunRecord(FAILED, before.epoch, epochs, before.best, reason))
    return None


def _reason(error: Exception) -> str:
    if isinstance(error, UserError):
        return str(error)
    if _is_out_of_memory(error):
        return "out of memory; lower trainer.batch_size or patches.shape, or set model.checkpointing=true"
    refused = files.os_error_message(error) if isinstance(error, OSError) else None
    if refused is not None:
        return refused
    if any(text in str(error).lower() for text in _OF_A_LOST_PEER):
        return PEER_LOST
    first = (str(error).splitlines() or [""])[0]
    return f"{type(error).__name__}: {first}"


def _is_out_of_memory(error: Exception) -> bool:
    import torch

    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(error)
