"""A training run is a directory: what it was asked to do, how far it is, what it scored. Imports no torch.

    runs/<name>/fold=<f>/lr=<lr>/seed=<s>/
        config.yaml     the resolved configuration          manifest.json   identity, versions, hardware
        status.json     state and progress                  lock            held while a process trains it
        metrics.jsonl   one object per epoch                cases.jsonl     one object per validated epoch and case
        checkpoints/    last.pt, best_epoch=<e>_dice=<d>.pt

JSON files are replaced whole (temporary name, then rename); JSONL files only grow. After a resume an epoch can occur
twice in them: the later line counts.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import socket
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from brats_ablate.errors import RunFailed
from brats_ablate.runs.renamed import with_current_names
from brats_ablate.runtime.files import atomic_write

RUNNING, FINISHED, FAILED, INTERRUPTED = "running", "finished", "failed", "interrupted"
PEER_LOST = "another rank ended without a word (killed for memory, or its node lost?)"
"""What the other ranks can say when one was killed. Who watches the ranks may know more."""
_BEST = re.compile(r"best_epoch=(\d+)_dice=([\d.]+)\.pt")
_RUN = re.compile(r"(?P<name>[^/]+)/fold=(?P<fold>\d+)/lr=(?P<lr>[^/]+)/seed=(?P<seed>-?\d+)")


@dataclass(frozen=True)
class RunRecord:
    """How far a run is. `best` is the highest mean Dice of a validated epoch, `reason` why it failed."""

    state: str
    epoch: int = 0
    epochs: int = 0
    best: float | None = None
    reason: str | None = None
    updated: str = ""

    @property
    def names_cause(self) -> bool:
        """Whether `reason` is why the run failed, and not merely that another rank is gone."""
        return bool(self.reason) and PEER_LOST not in str(self.reason)


@dataclass(frozen=True)
class Coordinates:
    """What a run is called: its place among the runs of a data set."""

    name: str
    fold: int
    lr: float
    seed: int

    def __str__(self) -> str:
        return f"{self.name} fold={self.fold} lr={self.lr:g} seed={self.seed}"


class RunDirectory:
    """One run's directory. Reading never needs the run to be alive, or complete."""

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self._is_held = False

    @classmethod
    def at(cls, runs: Path, coordinates: Coordinates) -> RunDirectory:
        """The directory that belongs to `coordinates` below `runs`; it need not exist."""
        c = coordinates
        return cls(Path(runs) / c.name / f"fold={c.fold}" / f"lr={c.lr:g}" / f"seed={c.seed}")

    @property
    def coordinates(self) -> Coordinates:
        found = _RUN.fullmatch("/".join(self.path.parts[-4:]))
        if found is None:
            raise ValueError(f"{self.path} is not a run directory")
        return Coordinates(found["name"], int(found["fold"]), float(found["lr"]), int(found["seed"]))

    # ---- reading

    def status(self) -> RunRecord | None:
        """The run's own record of its state; None before its first start."""
        found = _read_json(self.path / "status.json")
        return RunRecord(**found) if found else None

    def manifest(self) -> dict[str, Any]:
        return _read_json(self.path / "manifest.json")

    def config(self) -> dict[str, Any]:
        """Return the resolved configuration as recorded, with today's `_target_` names; {} before the first start."""
        import yaml

        file = self.path / "config.yaml"
        return with_current_names(yaml.safe_load(file.read_text(encoding="utf-8"))) if file.exists() else {}

    def metrics(self) -> list[dict[str, Any]]:
        """One object per epoch, sorted; epoch 0, where it exists, is the untrained network."""
        rows = {row["epoch"]: row for row in read_jsonl(self.path / "metrics.jsonl")}
        return [rows[epoch] for epoch in sorted(rows)]

    def cases(self) -> list[dict[str, Any]]:
        """One object per validated epoch and case, sorted."""
        rows = {(row["epoch"], row["case"]): row for row in read_jsonl(self.path / "cases.jsonl")}
        return [rows[key] for key in sorted(rows)]

    @property
    def last_checkpoint(self) -> Path:
        return self.path / "checkpoints" / "last.pt"

    def best_checkpoint(self, epoch: int, dice: float) -> Path:
        """Where the checkpoint of a validated epoch goes."""
        return self.path / "checkpoints" / f"best_epoch={epoch:04d}_dice={dice:.6f}.pt"

    def best_checkpoints(self) -> list[Path]:
        """The checkpoints kept for their Dice, best first; of equal ones the earlier epoch."""
        found = [(file, _BEST.fullmatch(file.name)) for file in self.path.glob("checkpoints/best_*.pt")]
        ranked = [(-float(match[2]), int(match[1]), file) for file, match in found if match]
        return [file for _, _, file in sorted(ranked)]

    # ---- writing

    def ensure_exists(self) -> None:
        """Raise RunFailed if this process trains the run and its directory is not there any more.

        Without it a run whose directory was moved, or whose file system was unmounted, would begin a second one at the
        same path, in an empty mount point perhaps, and its checkpoints would be lost to whoever looks for them.
        """
        if not self._is_held:
            return
        try:
            (self.path / "lock").stat()
        except (FileNotFoundError, NotADirectoryError):
            raise RunFailed(
                f"{self.path} vanished while the run was trained (moved, deleted, or its file system unmounted); bring "
                "it back and run the same command again, which continues from the last checkpoint"
            ) from None

    def write_status(self, status: RunRecord) -> None:
        self.ensure_exists()
        stamped = asdict(status) | {"updated": datetime.now(UTC).isoformat(timespec="seconds")}
        write_json(self.path / "status.json", stamped)

    def write_manifest(self, manifest: Mapping[str, Any]) -> None:
        self.ensure_exists()
        write_json(self.path / "manifest.json", manifest)

    def append(self, file: str, rows: list[dict[str, Any]]) -> None:
        """Append rows to a JSONL file in one write; a line that a killed process left half is cut off first."""
        self.ensure_exists()
        path = self.path / file
        text = "".join(json.dumps(row) + "\n" for row in rows)
        with path.open("ab+") as stream:
            size = stream.seek(0, os.SEEK_END)
            if size:
                stream.seek(size - 1)
                if stream.read(1) != b"\n":
                    content = path.read_bytes()
                    stream.truncate(content.rfind(b"\n") + 1)
            stream.write(text.encode())

    # ---- one process at a time

    @contextlib.contextmanager
    def lock(self, patience_s: float = 2.0) -> Iterator[None]:
        """Hold the run. The lock dies with its process (and with its node), so it is never stale.

        Raises:
            RunFailed: another process holds it; names host and process.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        with (self.path / "lock").open("a+") as stream:
            deadline = time.monotonic() + patience_s  # a reader that probes the lock holds it for a moment
            while not _try_lock(stream.fileno(), fcntl.LOCK_EX):
                if time.monotonic() > deadline:
                    raise RunFailed(f"{self.path} is being trained by {self.lock_owner()}; wait for it or stop it")
                time.sleep(0.05)
            stream.truncate(0)
            job = os.environ.get("SLURM_JOB_ID")
            stream.write(f"process {os.getpid()} on {socket.gethostname()}" + (f", SLURM job {job}" if job else ""))
            stream.flush()
            self._is_held = True
            try:
                yield
            finally:
                self._is_held = False

    def lock_owner(self) -> str:
        """Who held the lock last, in words."""
        file = self.path / "lock"
        return file.read_text(encoding="utf-8") if file.exists() else "nobody"

    def is_locked(self) -> bool:
        """Whether a living process holds the run."""
        file = self.path / "lock"
        if not file.exists():
            return False
        with file.open() as stream:
            return not _try_lock(stream.fileno(), fcntl.LOCK_SH)


def find_runs(runs: Path) -> list[RunDirectory]:
    """Every run directory below `runs`, sorted by path."""
    found = Path(runs).glob("*/fold=*/lr=*/seed=*")
    return sorted(
        (RunDirectory(path) for path in found if _RUN.fullmatch("/".join(path.parts[-4:]))),
        key=lambda r: r.path,
    )


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Replace a JSON file as a whole, so that a reader or a kill never meets half of one."""
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """The complete lines of a JSONL file; [] if there is none. A last line that is still being written is left out."""
    if not path.exists():
        return []
    *lines, _ = path.read_text(encoding="utf-8").split("\n")
    return [json.loads(line) for line in lines if line]


def _read_json(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def _try_lock(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
