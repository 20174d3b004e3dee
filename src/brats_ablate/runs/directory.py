"""The directory of a training run: configuration, state, scores, checkpoints. Imports no torch.

    runs/<name>/fold=<f>/lr=<lr>/seed=<s>/
        config.yaml     the resolved configuration          manifest.json   identity, versions, hardware
        status.json     state and progress                  lock            held while a process trains it
        metrics.jsonl   one object per epoch                cases.jsonl     Dice per epoch and case (`case_table`)
        checkpoints/    last.pt, best_epoch=<e>_dice=<d>.pt     profile/        with trainer.profile=true
        initialization.json     where the run started from other weights

JSON files are replaced atomically; JSONL files only grow. An epoch can occur twice in them, after a resume: the later
line counts. A measured value that is infinite or NaN is null.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from brats_ablate.errors import ConfigError, Unreadable
from brats_ablate.runs.disk import folders_in
from brats_ablate.runs.renamed import with_current_names
from brats_ablate.runs.state import RunState
from brats_ablate.runs.training_folder import TrainingFolder
from brats_ablate.runtime.files import finite_or_null, read_json, read_jsonl, readable, to_json, write_json
from brats_ablate.runtime.text import printable

if TYPE_CHECKING:
    from brats_ablate.runs.case_table import CaseTable

TRAIN_JOB = "brats_ablate.jobs.train.run"
"""The `_target_` of `job=train`."""
PEER_LOST = "another rank exited unexpectedly (out of memory or node failure?)"
"""Reported by the surviving ranks of a run; the process that started the ranks may know the real cause."""
IMPORTED_CHECKPOINT = "imported.pt"
_BEST = re.compile(r"best_epoch=(\d+)_dice=([\d.]+)\.pt")
COMPUTED_WITH = (
    *("epoch", "step", "dice", "peak_memory_bytes", "seconds"),
    *(f"seconds/{phase}" for phase in ("data", "forward", "backward", "optimizer", "validation")),
)
"""Keys of `metrics.jsonl` whose values must be numbers; others, also of later versions, are shown or passed over."""
_RUN = re.compile(r"(?P<name>[^/]+)/fold=(?P<fold>\d+)/lr=(?P<lr>\d+(\.\d+)?(e[-+]?\d+)?)/seed=(?P<seed>-?\d+)")


@dataclass(frozen=True)
class RunRecord:
    """Content of `status.json`. `best` is the highest mean Dice of a validated epoch, `reason` why the run failed."""

    state: RunState
    epoch: int = 0
    epochs: int = 0
    best: float | None = None
    reason: str | None = None
    updated: str = ""

    @property
    def names_cause(self) -> bool:
        """True if `reason` is why the run failed, and not only that another rank was lost."""
        return bool(self.reason) and PEER_LOST not in str(self.reason)


@dataclass(frozen=True)
class Coordinates:
    """What identifies a run among the runs of a data set."""

    name: str
    fold: int
    lr: float
    seed: int

    def __str__(self) -> str:
        return f"{self.name} fold={self.fold} lr={self.lr:g} seed={self.seed}"


class RunDirectory(TrainingFolder):
    """The directory of one run. Reading it works at any time, also while the run is trained or after it failed."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._listed_cases = ""

    @classmethod
    def at(cls, runs: Path, coordinates: Coordinates) -> RunDirectory:
        """Return the directory of `coordinates` below `runs`, which need not exist."""
        c = coordinates
        return cls(Path(runs) / c.name / f"fold={c.fold}" / f"lr={c.lr:g}" / f"seed={c.seed}")

    @property
    def coordinates(self) -> Coordinates:
        if (match := _RUN.fullmatch("/".join(self.path.parts[-4:]))) is None:
            raise ConfigError(
                f"{self.path} is not named as a run directory, <name>/fold=<f>/lr=<lr>/seed=<s>; rename it back"
            )
        return Coordinates(match["name"], int(match["fold"]), float(match["lr"]), int(match["seed"]))

    # ---- reading

    def status(self) -> RunRecord | None:
        """Return what the run last recorded of its state; None before its first start."""
        content = read_json(self.path / "status.json")
        if not content:
            return None
        with readable(self.path / "status.json"):
            known = {key: content[key] for key in RunRecord.__dataclass_fields__ if key in content}
            reason = content.get("reason")
            require_numbers([known], ("epoch", "epochs", "best"))
            shown = {"state": RunState(content["state"]), "reason": printable(reason) if reason else reason}
            return RunRecord(**known | shown)

    def is_finished(self) -> bool:
        """Return True if the run recorded that it was trained to its end."""
        return (status := self.status()) is not None and status.state == RunState.FINISHED

    def manifest(self) -> dict[str, Any]:
        """Return identity, versions and hardware as recorded; {} before the first start."""
        manifest = read_json(self.path / "manifest.json")
        if not isinstance(manifest.get("identity", {}), dict):
            raise Unreadable(self.path / "manifest.json", "its identity is no object")
        return manifest

    def identity(self) -> dict[str, Any] | None:
        """Return the run's identity as recorded; None before the first start.

        Earlier versions recorded the number of processes beside it.
        """
        manifest = self.manifest()
        ranks = manifest.get("world_size", 1)
        recorded: dict[str, Any] | None = manifest.get("identity")
        return recorded if recorded is None or ranks == 1 else {"trainer.ranks": ranks, **recorded}

    def config(self) -> dict[str, Any]:
        """Return the resolved configuration as recorded, with today's `_target_` names; {} before the first start."""
        import yaml

        file = self.path / "config.yaml"
        if not file.exists():
            return {}
        with readable(file, self._train_again):
            try:
                tree = yaml.safe_load(file.read_text(encoding="utf-8"))
            except yaml.YAMLError as error:
                raise ValueError(error) from error
            if not isinstance(tree, dict):
                raise TypeError(f"a YAML {type(tree).__name__}, not a mapping")
            return dict(with_current_names(tree))

    def metrics(self) -> list[dict[str, Any]]:
        """Return one object per epoch, sorted; epoch 0, if present, is the untrained network."""
        with readable(self.path / "metrics.jsonl", self._train_again):
            rows = {row["epoch"]: row for row in read_jsonl(self.path / "metrics.jsonl")}
            require_numbers(rows.values(), COMPUTED_WITH)
            return [rows[epoch] for epoch in sorted(rows)]

    def rows_to_continue(self, epoch: int) -> list[dict[str, Any]]:
        """Return the rows up to `epoch`, after which a checkpoint continues the run.

        Raises:
            Unreadable: an epoch or its cases are not there, without which the run would be trained to an end in vain.
        """
        rows = [row for row in self.metrics() if row["epoch"] <= epoch]
        with readable(self.path / "metrics.jsonl", self._train_again):
            if lost := set(range(1, epoch + 1)) - {row["epoch"] for row in rows}:
                raise ValueError(f"it lacks epoch {min(lost)}, and the last checkpoint is of epoch {epoch}")
        validated = {row["epoch"] for row in rows if row.get("dice") is not None}
        with readable(self.path / "cases.jsonl", self._train_again):
            if lost := validated - self.case_tables(validated).keys():
                raise ValueError(f"it lacks the cases of epoch {min(lost)}")
        return rows

    def require_all_epochs(self, status: RunRecord | None, metrics: Sequence[Mapping[str, Any]]) -> None:
        """Check that the `metrics` of a finished run reach its last epoch: a copy can lack the end of a file.

        Raises:
            Unreadable: they end before.
        """
        if status is None or status.state != RunState.FINISHED or not metrics:
            return
        with readable(self.path / "metrics.jsonl", self._train_again):
            if metrics[-1]["epoch"] < status.epoch:
                raise ValueError(f"it ends with epoch {metrics[-1]['epoch']} of {status.epoch}")

    def require_cases(self, tables: Mapping[int, CaseTable], epochs: Iterable[int]) -> None:
        """Check that `tables` have all `epochs`, which were validated, unless no case is recorded at all.

        Raises:
            Unreadable: one is not there.
        """
        file = self.path / "cases.jsonl"
        with readable(file, self._train_again):
            if set(epochs) - tables.keys() and file.exists() and file.stat().st_size:
                raise ValueError("it lacks the cases of validated epochs")

    def cases(self) -> list[dict[str, Any]]:
        """Return one object per validated epoch and case, sorted."""
        return [row for table in self.case_tables().values() for row in table.rows]

    def case_tables(self, epochs: AbstractSet[int] | None = None) -> dict[int, CaseTable]:
        """Return the Dice of all cases in each validated epoch, or in those of `epochs`, sorted by epoch."""
        from brats_ablate.runs.case_table import read_case_tables  # imports numpy, which most readers do not need

        with readable(self.path / "cases.jsonl", self._train_again):
            return read_case_tables(self.path / "cases.jsonl", epochs)

    @property
    def _train_again(self) -> str:
        return f"delete {self.path} and train the run"

    @property
    def last_checkpoint(self) -> Path:
        return self.path / "checkpoints" / "last.pt"

    def best_checkpoint(self, epoch: int, dice: float) -> Path:
        """Return the path for the checkpoint of a validated epoch."""
        return self.path / "checkpoints" / f"best_epoch={epoch:04d}_dice={dice:.6f}.pt"

    def best_checkpoints(self) -> list[Path]:
        """Return the checkpoints kept for their Dice, best first (of equal ones the earlier epoch), or an imported."""
        matches = [(file, _BEST.fullmatch(file.name)) for file in self.path.glob("checkpoints/best_*.pt")]
        ranked = [(-float(match[2]), int(match[1]), file) for file, match in matches if match]
        return [file for _, _, file in sorted(ranked)] or [*self.path.glob(f"checkpoints/{IMPORTED_CHECKPOINT}")]

    # ---- writing

    def write_status(self, status: RunRecord) -> None:
        """Replace `status.json`, stamped with the current time."""
        stamped = finite_or_null(asdict(status)) | {"updated": datetime.now(UTC).isoformat(timespec="seconds")}
        self._write("status.json", stamped)

    def write_manifest(self, manifest: Mapping[str, Any]) -> None:
        """Replace `manifest.json`."""
        self._write("manifest.json", manifest)

    def _write(self, file: str, content: Mapping[str, Any]) -> None:
        self.ensure_exists()
        # The directory can vanish after the check: a process that trains the run never creates it again.
        write_json(self.path / file, content, make_folder=not self.is_trained_here)

    def append(self, file: str, rows: list[dict[str, Any]]) -> None:
        """Append rows to a JSONL file in one write, after truncating a partial last line of a killed process.

        They are on the disk when it returns, so that no checkpoint of an epoch outlives a power failure without them.
        A measured value that is infinite or NaN is written as null.
        """
        self._append(file, "".join(to_json(finite_or_null(row)) + "\n" for row in rows))

    def append_cases(self, epoch: int, rows: Sequence[Mapping[str, Any]]) -> None:
        """Append a validated epoch to `cases.jsonl` as `append` does; rows have `case`, Dice per region, and voxels."""
        from brats_ablate.runs.case_table import case_lines

        cases, scores = case_lines(epoch, rows)
        self._append("cases.jsonl", scores if cases == self._listed_cases else cases + scores)
        self._listed_cases = cases

    def _append(self, file: str, text: str) -> None:
        self.ensure_exists()
        path = self.path / file
        with path.open("ab+") as stream:
            size = stream.seek(0, os.SEEK_END)
            if size:
                stream.seek(size - 1)
                if stream.read(1) != b"\n":
                    content = path.read_bytes()
                    stream.truncate(content.rfind(b"\n") + 1)
            stream.write(text.encode())
            stream.flush()
            os.fsync(stream.fileno())


def find_runs(runs: Path, names: Iterable[str] | None = None) -> list[RunDirectory]:
    """Return every run directory below `runs`, or those of the experiments `names`, sorted by path."""
    found = [f"/{name}" for name in (folders_in(str(runs)) if names is None else names)]
    for _ in range(3):  # fold, lr, seed; three times as fast as a glob
        found = [f"{path}/{name}" for path in found for name in folders_in(f"{runs}{path}")]
    return [RunDirectory(Path(f"{runs}{path}")) for path in sorted(found) if _RUN.fullmatch(path[1:])]


def validated_rows(metrics: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows of validated epochs; the untrained network does not count."""
    return [row for row in metrics if row["epoch"] and row.get("dice") is not None]


def best_epoch(metrics: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Return the row of the epoch with the highest mean Dice, of equal ones the earlier; {} without any."""
    return max(validated_rows(metrics), key=lambda row: (row["dice"], -row["epoch"]), default={})


def require_numbers(rows: Iterable[Mapping[str, Any]], keys: Iterable[str]) -> None:
    """Check that the values of `keys`, where recorded, are numbers or null, and epochs integers.

    Raises:
        TypeError: one is something else.
    """
    rows = list(rows)
    for key in keys:
        kind = int if key.startswith("epoch") else int | float | None
        try:  # all rows have most keys
            recorded_types = set(map(type, map(itemgetter(key), rows)))
        except KeyError:
            recorded_types = {type(row[key]) for row in rows if key in row}
        for recorded in recorded_types:
            if not issubclass(recorded, kind):
                wrong = next(row[key] for row in rows if type(row.get(key)) is recorded)
                raise TypeError(f"{key} is {wrong!r}")


def trains_a_run(target: str) -> bool:
    """Return True if the job `target` trains the run that its configuration describes, and so has a run directory.

    These are `job=train` and every other function `run` of a module `train`, which is called in place of it.
    """
    return target.endswith(".train.run")
