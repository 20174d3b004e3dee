"""Recording of the reason why a training run failed."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from brats_ablate.errors import RunFailed, UserError
from brats_ablate.runs.directory import PEER_LOST, RunDirectory, RunRecord
from brats_ablate.runs.state import RunState
from brats_ablate.runtime import files, signals
from brats_ablate.runtime.text import first_line

if TYPE_CHECKING:
    from brats_ablate.training.distributed import DistributedContext

_LOST_PEER_PHRASES = (  # of gloo, the store and NCCL
    "closed by peer", "reset by peer", "broken pipe", "likely closed", "remote process", "timed out waiting",
)  # fmt: skip
_EXPLAINED: tuple[tuple[re.Pattern[str], str], ...] = (
    (
        re.compile(r"(?P<what>\S+) does not have a deterministic implementation"),
        "{what} has no deterministic implementation here; set trainer.deterministic=false, or choose a model, a loss "
        "and augmentations without it",
    ),
    (
        re.compile(r"Function '(?P<what>\w+)' returned nan values in its"),
        "the gradient of {what} is NaN; the warning above (Traceback of forward call) ends at the line that called it",
    ),
    (
        re.compile(r"unable to find an engine to execute"),
        "cuDNN found no way to compute a convolution, most likely for want of memory; lower trainer.batch_size or "
        "patches.shape, or set model.checkpointing=true",
    ),
    (
        re.compile(r"element 0 of tensors does not require grad"),
        "the loss depends on no weight, so there is no gradient; look for detach(), no_grad() or argmax between them",
    ),
    (
        re.compile(r"(?P<what>logits \(.*\) do not fit labels \(.*\))"),
        "{what}; the network must return a channel per region (out_channels), in the size of its input",
    ),
)
"""Errors that a model, a loss or a setting causes in torch or the loss, and what to say of them."""


@contextmanager
def record_failure(directory: RunDirectory, ranks: DistributedContext, epochs: int) -> Iterator[None]:
    """Write the reason of a failure on any rank into the run's status; the first reason stays.

    When a rank dies, the others fail with connection errors. Those are not recorded as the cause.

    Raises:
        RunFailed: wraps environment errors (out of memory, a lost peer, a missing file in a vanished run directory)
            and those of `_EXPLAINED`.
    """
    try:
        try:
            yield
        except OSError:
            directory.ensure_exists()  # raises RunFailed if the run directory itself has vanished
            raise
    except signals.Interrupted:
        raise
    except Exception as error:
        reason = _reason(error, has_peers=ranks.world_size > 1)
        rank = ranks.rank if not isinstance(error, RunFailed) or error.rank is None else error.rank
        earlier_reason = write_failure(directory, f"rank {rank}: {reason}" if ranks.world_size > 1 else reason, epochs)
        if isinstance(error, UserError | OSError):
            raise
        if earlier_reason is not None:
            raise RunFailed(f"stopped, because another rank failed: {earlier_reason}") from error
        if _is_out_of_memory(error) or reason == PEER_LOST or _explained(error):
            raise RunFailed(reason) from error
        raise


def write_failure(directory: RunDirectory, reason: str, epochs: int, *, keep: Collection[RunState] = ()) -> str | None:
    """Write the status, unless its state is one of `keep`; or return the cause if it already contains one.

    A run whose directory vanished gets no status, which would create a second directory in its place.
    """
    with contextlib.suppress(OSError, RunFailed):  # the caller's own error must not be lost
        before = directory.status() or RunRecord(RunState.FAILED, epochs=epochs)
        if before.state == RunState.FAILED and before.names_cause:
            return before.reason
        if directory.path.is_dir() and before.state not in keep:
            directory.write_status(RunRecord(RunState.FAILED, before.epoch, epochs, before.best, reason))
    return None


def _reason(error: Exception, *, has_peers: bool) -> str:
    if isinstance(error, UserError):
        return str(error)
    if _is_out_of_memory(error):
        return "out of memory; lower trainer.batch_size or patches.shape, or set model.checkpointing=true"
    message = files.os_error_message(error) if isinstance(error, OSError) else None
    if message is not None:
        return message
    if has_peers and any(phrase in str(error).lower() for phrase in _LOST_PEER_PHRASES):
        return PEER_LOST
    if (sentence := _explained(error)) is not None:
        return sentence
    return f"{type(error).__name__}: {first_line(error)}"


def _explained(error: Exception) -> str | None:
    """Return what to say of an error that `_EXPLAINED` lists; None for any other."""
    matches = ((pattern.search(str(error)), sentence) for pattern, sentence in _EXPLAINED)
    return next((sentence.format(**match.groupdict()) for match, sentence in matches if match), None)


def _is_out_of_memory(error: Exception) -> bool:
    import torch

    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    # Torch's CPU allocator, the CUDA runtime, cuBLAS and cuDNN raise no type of their own.
    phrases = "can't allocate memory|out of memory|STATUS_ALLOC_FAILED"
    return isinstance(error, RuntimeError) and bool(re.search(phrases, str(error)))
