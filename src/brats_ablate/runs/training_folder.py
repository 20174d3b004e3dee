"""The folder that one process at a time trains a run in."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

from brats_ablate.errors import RunFailed
from brats_ablate.runtime.locks import lock_file, try_lock


class TrainingFolder:
    """A folder with a lock, which the process that trains there holds."""

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self._held_lock: tuple[int, int] | None = None

    @property
    def is_trained_here(self) -> bool:
        """True while this process, or the first rank of its run, holds the lock."""
        return self._held_lock is not None

    @contextlib.contextmanager
    def lock(self, patience_s: float = 2.0) -> Iterator[None]:
        """Lock the run for this process. The lock ends with its process (and its node), so it is never stale.

        Raises:
            RunFailed: another process has locked it; names host and process.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        with lock_file(self.path / "lock") as stream:
            deadline = time.monotonic() + patience_s  # `is_locked` in another process takes it for a moment
            while not try_lock(stream):
                if time.monotonic() > deadline:
                    raise RunFailed(f"{self.path} is being trained by {self.lock_owner()}; wait for it or stop it")
                time.sleep(0.05)
            stream.truncate(0)
            job = os.environ.get("SLURM_JOB_ID")
            stream.write(f"process {os.getpid()} on {socket.gethostname()}" + (f", SLURM job {job}" if job else ""))
            stream.flush()
            self._held_lock = _file_id(os.fstat(stream.fileno()))
            try:
                yield
            finally:
                self._held_lock = None

    def follow_lock(self) -> None:
        """Let `ensure_exists` check the lock of this run's first rank, which is another process, from now on.

        A network file system that does not show it yet leaves it unchecked.
        """
        with contextlib.suppress(FileNotFoundError):
            self._held_lock = _file_id((self.path / "lock").stat())

    def lock_owner(self) -> str:
        """Return process and host that held the lock last."""
        file = self.path / "lock"
        return file.read_text(encoding="utf-8") if file.exists() else "nobody"

    def is_locked(self) -> bool:
        """Return True if a living process has locked the run."""
        file = self.path / "lock"
        if not file.exists():
            return False
        with file.open(encoding="utf-8") as stream:
            return not try_lock(stream, shared=True)

    def ensure_exists(self) -> None:
        """Check that the directory is still the one that this process locked, if it trains the run.

        A run directory that was moved or unmounted is thus named, before a write there fails. One that was deleted and
        created again is that of another process.

        Raises:
            RunFailed: the directory vanished, or is another one.
        """
        if self._held_lock is None:
            return
        try:
            if _file_id((self.path / "lock").stat()) != self._held_lock:
                raise RunFailed(
                    f"{self.path} was deleted and created again while the run was trained; this process stops, and "
                    "leaves the directory to the one that trains there now"
                )
        except (FileNotFoundError, NotADirectoryError):
            raise RunFailed(
                f"{self.path} vanished while the run was trained (moved, deleted, or its file system unmounted); bring "
                "it back and run the same command again, which continues from the last checkpoint"
            ) from None


def _file_id(status: os.stat_result) -> tuple[int, int]:
    """Return what two files, also of the same path, do not share."""
    return status.st_dev, status.st_ino
