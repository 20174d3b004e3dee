"""Checkpoint files: written under a temporary name and renamed, read with `weights_only=True`."""

from __future__ import annotations

import copy
import errno
import zipfile
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch

from brats_ablate.errors import RunFailed
from brats_ablate.runs.identity import differences
from brats_ablate.runtime import files
from brats_ablate.runtime.files import atomic_write
from brats_ablate.runtime.memory import within

_WAITING = 4
"""Writes: the best checkpoint of an epoch, its last checkpoint, the deletion of surpassed ones, and the status."""


def save(content: dict[str, Any], path: Path) -> None:
    """Write a checkpoint atomically: after a kill or on a full disk the previous file is unchanged.

    Raises:
        OSError: the disk is full or gone, or the folder does not exist; names the file.
    """
    try:
        # An open file, because with a file name torch loses the file system's error.
        with atomic_write(path, make_folder=False) as temporary, temporary.open("wb") as stream:
            torch.save(content, stream)
    except (RuntimeError, OSError) as error:  # torch hides a failed write behind "unexpected pos"
        os_error = files.os_error_behind(error)
        if os_error is None:
            raise
        raise files.with_filename(os_error, path) from error


class CheckpointWriter:
    """Writes checkpoints on a thread of its own, one after the other, while training continues.

    What is written is the state at the call, as its tensors are copied on their device. At most `_WAITING` writes wait;
    a further call waits for the oldest.
    """

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._writes: deque[Future[None]] = deque()
        self._failed = False
        self._stream = torch.cuda.Stream() if torch.cuda.is_initialized() else None

    def save(self, content: dict[str, Any], path: Path) -> None:
        """Write a checkpoint as `save` does, in the background; errors of earlier writes are raised here, too."""
        copied = copy.deepcopy(content)
        ready = torch.cuda.current_stream().record_event() if self._stream is not None else None
        self.run(partial(self._write, copied, path, ready))

    def run(self, work: Callable[[], None]) -> None:
        """Call `work` when everything before it is written, and never if that failed."""
        while len(self._writes) >= _WAITING:
            self._writes.popleft().result()
        self._writes.append(self._thread.submit(self._unless_failed, work))

    def wait(self) -> None:
        """Wait until everything is written.

        Raises:
            OSError: the disk is full or gone; names the file.
        """
        while self._writes:
            self._writes.popleft().result()

    def close(self) -> None:
        """Finish all writes, unless one fails, and end the thread; errors are lost."""
        self._thread.shutdown(wait=True)

    def _unless_failed(self, work: Callable[[], None]) -> None:
        if self._failed:
            return
        try:
            work()
        except BaseException:
            self._failed = True
            raise

    def _write(self, content: dict[str, Any], path: Path, ready: torch.cuda.Event | None) -> None:
        if self._stream is None or ready is None:
            save(content, path)
            return
        self._stream.wait_event(ready)
        with within(self._stream):  # beside the steps, not behind them
            save(content, path)


def load(path: Path, device: torch.device | str = "cpu") -> dict[str, Any]:
    """Read a checkpoint, after comparing everything in it with the checksums of the file.

    Raises:
        RunFailed: the file is missing or damaged; names it.
        OSError: the file system cannot read it; names the file.
    """
    with _readable(path):
        _compare_checksums(path)
        content: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
    return content


def require_identity(saved: dict[str, Any], expected: dict[str, Any], path: Path) -> None:
    """Check that `saved`, the content of `path`, is the state of a run of the identity `expected`.

    Raises:
        RunFailed: it is another run's; names the differences.
    """
    ranks = len(saved.get("sums_of_ranks", ()))
    recorded = saved["identity"] if ranks <= 1 else {"trainer.ranks": ranks, **saved["identity"]}  # not in version 0.1
    if recorded != expected:
        shown = "; ".join(differences(recorded, expected)[:5])
        raise RunFailed(f"{path} is the state of a different configuration ({shown}); delete it to start the run again")


def verify(path: Path) -> None:
    """Compare everything in a checkpoint with the checksums of the file; errors as `load`."""
    with _readable(path):
        _compare_checksums(path)


def finished_epochs(path: Path) -> int:
    """Return the complete epochs that `last.pt` continues after, without reading its weights; errors as `load`."""
    with _readable(path):
        return int(torch.load(path, map_location="cpu", weights_only=True, mmap=True)["position"]["epoch"])


def _compare_checksums(path: Path) -> None:
    with zipfile.ZipFile(path) as archive:  # torch writes checksums, but does not compare them
        if damaged := archive.testzip():
            raise zipfile.BadZipFile(damaged)


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise RunFailed(f"{path} does not exist; train the run first") from None
    except MemoryError:
        raise
    except Exception as error:  # of any kind, as wrong bytes lead zipfile, torch and pickle anywhere
        os_error = files.os_error_behind(error)
        if os_error is not None and os_error.errno not in (None, errno.EINVAL):  # which a position before the file is
            raise files.with_filename(os_error, path) from error
        raise RunFailed(f"{path} is damaged or no checkpoint; delete it and start the run again") from error


def load_weights(path: Path, model: torch.nn.Module, content: Mapping[str, Any] | None = None) -> None:
    """Load a checkpoint's weights into `model`; `content` is that of the file, if it was read already.

    Raises:
        RunFailed: they belong to a different architecture; names the first tensor that differs.
    """
    expected = model.state_dict()
    saved = (load(path) if content is None else content)["model"]
    for name in sorted(expected.keys() | saved.keys()):
        shapes = [tuple(d[name].shape) if name in d else None for d in (saved, expected)]
        if shapes[0] != shapes[1]:
            difference = f"{name} is {shapes[0] or 'absent'} in the file and {shapes[1] or 'absent'} in the network"
            raise RunFailed(
                f"{path} is a checkpoint of a different configuration: {difference}; use the run's own config.yaml"
            )
    model.load_state_dict(saved)
