from __future__ import annotations

import errno
from pathlib import Path

import pytest

from brats_ablate.errors import DataError, RunFailed
from brats_ablate.runs.directory import PEER_LOST, RunDirectory, RunRecord
from brats_ablate.runs.state import RunState
from brats_ablate.runtime.signals import Interrupted
from brats_ablate.training.distributed import DistributedContext
from brats_ablate.training.failure import record_failure

CLOSED = "[/gloo/transport/tcp/pair.cc:534] Connection closed by peer [127.0.0.1]:40711"


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    directory = RunDirectory(tmp_path / "run")
    directory.path.mkdir()
    directory.write_status(RunRecord(RunState.RUNNING, 3, 9, 0.5))
    return directory


def fail(run: RunDirectory, rank: int, error: Exception, world_size: int = 2) -> Exception:
    """What comes out when `error` happens in a rank."""
    with pytest.raises(Exception) as out, record_failure(run, DistributedContext(rank, world_size), 9):  # noqa: PT011
        raise error
    return out.value


def recorded(run: RunDirectory) -> str | None:
    status = run.status()
    assert (status.state, status.epoch, status.epochs, status.best) == (RunState.FAILED, 3, 9, 0.5)
    return status.reason


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (DataError("case 7 is damaged; prepare it again"), "case 7 is damaged; prepare it again"),
        (MemoryError(), "out of memory; lower trainer.batch_size or patches.shape, or set model.checkpointing=true"),
        (
            ValueError("logits (2, 4, 8, 8, 8) do not fit labels (2, 8, 8, 8)"),
            "logits (2, 4, 8, 8, 8) do not fit labels (2, 8, 8, 8); the network must return a channel per region "
            "(out_channels), in the size of its input",
        ),
        (ValueError("first line\nsecond line"), "ValueError: first line"),
        (
            RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported"),
            "out of memory; lower trainer.batch_size or patches.shape, or set model.checkpointing=true",
        ),
        (
            RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
            "out of memory; lower trainer.batch_size or patches.shape, or set model.checkpointing=true",
        ),
        (
            RuntimeError("GET was unable to find an engine to execute this computation"),
            "cuDNN found no way to compute a convolution, most likely for want of memory; lower trainer.batch_size or "
            "patches.shape, or set model.checkpointing=true",
        ),
        (
            OSError(errno.ENOTCONN, "Transport endpoint is not connected", "/cases/7"),
            "Transport endpoint is not connected: /cases/7; the file system is lost or failing; bring it back and run the "
            "same command again",
        ),
    ],
)
def test_the_reason_is_recorded_with_the_rank_if_there_are_several(
    run: RunDirectory, error: Exception, reason: str
) -> None:
    fail(run, 1, error)
    assert recorded(run) == f"rank 1: {reason}"
    run.write_status(RunRecord(RunState.RUNNING, 3, 9, 0.5))
    fail(run, 0, error, world_size=1)
    assert recorded(run) == reason


@pytest.mark.parametrize(
    "words",
    [
        CLOSED,
        "Broken pipe",
        "ncclRemoteError: A call failed possibly due to a network error or a remote process exiting prematurely.",
        "failed to recv, got 0 bytes. Connection was likely closed. Did the remote server shutdown or crash?",
        "Timed out waiting 1800000ms for recv operation to complete",
    ],
)
def test_a_lost_peer_is_no_cause(run: RunDirectory, words: str) -> None:
    out = fail(run, 0, RuntimeError(words))
    assert isinstance(out, RunFailed)
    assert str(out) == PEER_LOST
    assert recorded(run) == f"rank 0: {PEER_LOST}"
    status = run.status()
    assert not status.names_cause


def test_a_single_process_has_no_peer_to_lose(run: RunDirectory) -> None:
    fail(run, 0, BrokenPipeError(errno.EPIPE, "Broken pipe"), world_size=1)
    assert recorded(run) == "BrokenPipeError: [Errno 32] Broken pipe"


def test_the_cause_stays_whichever_rank_writes_first(run: RunDirectory) -> None:
    fail(run, 1, KeyError("a bug"))
    assert "another rank failed: rank 1: KeyError" in str(fail(run, 0, RuntimeError(CLOSED)))
    assert recorded(run) == "rank 1: KeyError: 'a bug'"
    run.write_status(RunRecord(RunState.RUNNING, 3, 9, 0.5))
    fail(run, 0, RuntimeError(CLOSED))
    fail(run, 1, KeyError("a bug"))
    assert recorded(run) == "rank 1: KeyError: 'a bug'"


def test_what_every_rank_tells_is_put_down_to_the_rank_at_fault(run: RunDirectory) -> None:
    fail(run, 0, RunFailed("the loss is nan", rank=1))
    fail(run, 1, RunFailed("the loss is nan", rank=1))
    assert recorded(run) == "rank 1: the loss is nan"


def test_a_status_that_cannot_be_written_hides_nothing(run: RunDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(status: RunRecord) -> None:
        raise OSError(errno.ESTALE, "Stale file handle", "status.json")

    monkeypatch.setattr(run, "write_status", refuse)
    error = OSError(errno.ESTALE, "Stale file handle", "last.pt")
    assert fail(run, 0, error) is error


def test_a_file_is_missing_because_the_run_vanished(run: RunDirectory) -> None:
    with run.lock():
        run.path.rename(run.path.with_name("elsewhere"))
        out = fail(run, 0, FileNotFoundError(errno.ENOENT, "No such file or directory", str(run.path / "x")))
    assert "vanished while the run was trained" in str(out)
    fail(run, 1, RuntimeError(CLOSED))
    assert not run.path.exists()


def test_an_interruption_is_no_failure(run: RunDirectory) -> None:
    assert isinstance(fail(run, 0, Interrupted()), Interrupted)
    status = run.status()
    assert status.state == RunState.RUNNING
