"""Gathers what the run directories of an experiment say: state, scores per epoch, cost. No per-case rows yet.

run directories ─gather→ RunSummary ─scores→ one score per fold. A run that is not finished is kept, and marked.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from brats_ablate.labels import REGIONS
from brats_ablate.runs import directory
from brats_ablate.runs.directory import Coordinates, RunDirectory

SCORES = ("dice", *(f"dice/{region}" for region in REGIONS))


@dataclass(frozen=True)
class RunSummary:
    """One training run as its directory records it. Dice are means over the fold's validation cases."""

    directory: RunDirectory
    coordinates: Coordinates
    state: str
    epoch: int
    epochs: int
    reason: str | None
    best_epoch: int | None
    """The first validated epoch with the highest mean Dice; None before the first validation."""
    best: dict[str, float]
    """`dice`, `dice/WT`, `dice/TC`, `dice/ET` at the best epoch."""
    last: dict[str, float]
    """The same at the last validated epoch."""
    metrics: list[dict[str, Any]] = field(repr=False)
    manifest: dict[str, Any] = field(repr=False)

    @property
    def is_finished(self) -> bool:
        return self.state == directory.FINISHED and self.best_epoch is not None

    @property
    def where(self) -> str:
        """How far an unfinished run is, in words."""
        return f"{self.state}, epoch {self.epoch} of {self.epochs}"

    @property
    def seconds(self) -> float:
        """Time of all recorded epochs, validation included, in seconds."""
        return sum(float(row.get("seconds") or 0) for row in self.metrics)

    @property
    def training_seconds(self) -> float:
        """The same without validation."""
        return self.seconds - sum(float(row.get("seconds/validation") or 0) for row in self.metrics)

    @property
    def steps(self) -> int:
        """Training steps recorded."""
        return max((int(row.get("step") or 0) for row in self.metrics), default=0)


def load_runs(runs: Path, names: Iterable[str]) -> dict[str, list[RunSummary]]:
    """Every run of each named experiment that has started, by experiment, sorted by fold, lr and seed."""
    gathered: dict[str, list[RunSummary]] = {}
    for name in dict.fromkeys(names):
        found = [summarize_run(directory) for directory in _directories(runs / name)]
        gathered[name] = sorted(
            (r for r in found if r), key=lambda r: (r.coordinates.fold, r.coordinates.lr, r.coordinates.seed)
        )
    return gathered


def _directories(experiment: Path) -> list[RunDirectory]:
    return [RunDirectory(path) for path in experiment.glob("fold=*/lr=*/seed=*") if path.is_dir()]


def summarize_run(directory: RunDirectory) -> RunSummary | None:
    """What one run directory says; None if the run never started."""
    status = directory.status()
    if status is None:
        return None
    metrics = directory.metrics()
    validated = [row for row in metrics if row["epoch"] > 0 and _is_number(row.get("dice"))]
    best = max(validated, key=lambda row: (row["dice"], -row["epoch"]), default=None)
    return RunSummary(
        directory=directory,
        coordinates=directory.coordinates,
        state=status.state,
        epoch=status.epoch,
        epochs=status.epochs,
        reason=status.reason,
        best_epoch=best["epoch"] if best else None,
        best=_scores(best),
        last=_scores(validated[-1] if validated else None),
        metrics=metrics,
        manifest=directory.manifest(),
    )


def _scores(row: dict[str, Any] | None) -> dict[str, float]:
    return {key: float(row[key]) for key in SCORES if _is_number(row.get(key))} if row else {}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)
