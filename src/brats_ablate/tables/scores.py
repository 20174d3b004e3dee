"""Run directories → one score per fold: its best epoch, at its best learning rate, and at the best shared one.

Figure of merit (paper, section 3): per fold the highest mean Dice over validated epochs, averaged over the folds.
Seeds of the same fold and learning rate are averaged. A missing fold is never averaged over: the mean is then absent.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from operator import attrgetter
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, Literal

from brats_ablate.errors import Unreadable
from brats_ablate.runs.directory import Coordinates, RunDirectory, RunRecord, best_epoch, find_runs, validated_rows
from brats_ablate.runs.disk import folders_in
from brats_ablate.runs.identity import recorded_regions
from brats_ablate.runs.state import RunState
from brats_ablate.runtime.workers import process_map


@dataclass(frozen=True)
class RunSummary:
    """One training run as its directory records it. Dice are means over the fold's validation cases."""

    directory: RunDirectory
    coordinates: Coordinates
    status: RunRecord
    manifest: dict[str, Any] = field(default_factory=dict, repr=False)
    best: dict[str, Any] = field(default_factory=dict, repr=False)
    """Metrics of the first validated epoch with the highest mean Dice; {} before the first validation."""
    last: dict[str, Any] = field(default_factory=dict, repr=False)
    """Metrics of the last validated epoch."""
    validated_epochs: tuple[int, ...] = field(default=(), repr=False)
    """Those with a Dice; the untrained network does not count."""
    recorded_epochs: int = 0
    steps: int = 0
    """Training steps recorded."""
    seconds: float = 0.0
    """Time of all recorded epochs, validation included."""
    training_seconds: float = 0.0
    """The same without validation."""
    validation_seconds: float | None = None
    """Mean of the validated epochs; None before the first."""
    interim_seconds: float | None = None
    """Mean of the validations in one pass (`validation=scheduled`); None where there are none."""
    peak_memory_bytes: int = 0
    """0 where not recorded."""

    @cached_property
    def regions(self) -> frozenset[str] | None:
        """The regions that the run recorded it is scored on; None where it recorded none."""
        return recorded_regions(self.manifest.get("identity") or {})

    @property
    def is_finished(self) -> bool:
        return self.status.state == RunState.FINISHED and bool(self.best)

    @property
    def progress_text(self) -> str:
        """State and progress of an unfinished run."""
        if self.status.state == RunState.UNREADABLE:
            return str(self.status.state)
        return f"{self.status.state}, epoch {self.status.epoch} of {self.status.epochs}"


def experiment_names(runs: Path) -> list[str]:
    """Return the experiments that have a folder below `runs`, sorted."""
    return sorted(folders_in(str(runs)))


def load_runs(runs: Path, names: Iterable[str], workers: int | None = 1) -> dict[str, list[RunSummary]]:
    """Return every run of each named experiment that has started, by experiment, sorted by fold, lr and seed.

    `workers`: processes that read; None for one per available core.
    """
    names = list(dict.fromkeys(names))
    return dict(zip(names, process_map(partial(_load_experiment, runs), names, workers=workers), strict=True))


def _load_experiment(runs: Path, name: str) -> list[RunSummary]:
    started = filter(None, map(summarize_run, find_runs(runs, [name])))
    return sorted(started, key=attrgetter("coordinates.fold", "coordinates.lr", "coordinates.seed"))


def summarize_run(run: RunDirectory) -> RunSummary | None:
    """Read one run directory; None if the run never started. One with a damaged file is UNREADABLE, with the reason."""
    try:
        status, metrics, manifest = run.status(), run.metrics(), run.manifest()
        run.require_all_epochs(status, metrics)
    except Unreadable as error:
        return RunSummary(run, run.coordinates, RunRecord(RunState.UNREADABLE, reason=str(error)))
    if status is None:
        return None
    validated = validated_rows(metrics)
    seconds = _total(metrics, "seconds")
    return RunSummary(
        run,
        run.coordinates,
        status,
        manifest,
        best=best_epoch(validated),
        last=validated[-1] if validated else {},
        validated_epochs=tuple(row["epoch"] for row in validated),
        recorded_epochs=metrics[-1]["epoch"] if metrics else 0,
        steps=int(max([row.get("step") or 0 for row in metrics], default=0)),
        seconds=seconds,
        training_seconds=seconds - _total(metrics, "seconds/validation"),
        validation_seconds=_mean_validation(validated),
        interim_seconds=_mean_validation([row for row in metrics if "interim/dice" in row]),
        peak_memory_bytes=max([row.get("peak_memory_bytes") or 0 for row in metrics], default=0),
    )


def _total(metrics: Iterable[Mapping[str, Any]], key: str) -> float:
    return float(sum([row.get(key) or 0 for row in metrics]))


def _mean_validation(rows: Sequence[Mapping[str, Any]]) -> float | None:
    return _total(rows, "seconds/validation") / len(rows) if rows else None


@dataclass(frozen=True)
class FoldScore:
    """One fold of one column."""

    state: Literal["finished", "unfinished", "missing"]
    value: float | None = None
    lr: float | None = None
    runs: tuple[RunSummary, ...] = ()
    """The runs that the value is the mean of: one per seed, all of one learning rate."""
    note: str = ""


@dataclass(frozen=True)
class FoldScores:
    """One column's folds. `mean` is None unless every fold is finished."""

    folds: tuple[FoldScore, ...]

    @property
    def values(self) -> list[float | None]:
        return [fold.value for fold in self.folds]

    @property
    def finished(self) -> list[float]:
        """The values of the folds that have one."""
        return [value for value in self.values if value is not None]

    @property
    def finished_folds(self) -> set[int]:
        """The folds that have a value."""
        return {fold for fold, value in enumerate(self.values) if value is not None}

    @property
    def mean(self) -> float | None:
        return fmean(self.finished) if len(self.finished) == len(self.folds) else None

    @property
    def sd(self) -> float | None:
        """Standard deviation over the folds (n - 1)."""
        return stdev(self.finished) if len(self.finished) == len(self.folds) > 1 else None

    @property
    def runs(self) -> list[RunSummary]:
        """The runs behind the values."""
        return [run for fold in self.folds for run in fold.runs]


@dataclass(frozen=True)
class ColumnScores:
    """One column, scored in both ways."""

    per_fold_lr: FoldScores
    """Per fold the learning rate that did best there, as in the paper."""
    shared_lr: FoldScores | None
    """The one learning rate that is best over all folds; None if none has every fold."""
    learning_rates: tuple[float, ...]
    """Those with a finished run."""
    runs: tuple[RunSummary, ...]
    """All runs of the experiment, finished or not."""

    @property
    def lr_optimism(self) -> float | None:
        """What choosing the learning rate per fold, on the fold itself, adds to the mean."""
        if self.shared_lr is None or self.per_fold_lr.mean is None or self.shared_lr.mean is None:
            return None
        return self.per_fold_lr.mean - self.shared_lr.mean

    @property
    def epoch_optimism(self) -> float | None:
        """Mean Dice of the best epoch minus that of the last: what choosing the epoch on the fold itself adds."""
        folds = self.per_fold_lr.folds
        if self.per_fold_lr.mean is None or not self.per_fold_lr.runs:
            return None
        return fmean(fmean(run.best["dice"] - run.last["dice"] for run in fold.runs) for fold in folds)


def score(runs: Sequence[RunSummary], folds: int) -> ColumnScores:
    """Score an experiment's runs over folds 0 … folds - 1."""
    by_fold: dict[int, dict[float, list[RunSummary]]] = defaultdict(lambda: defaultdict(list))
    for run in runs:
        if run.is_finished:
            by_fold[run.coordinates.fold][run.coordinates.lr].append(run)
    rates = tuple(sorted({lr for fold in by_fold.values() for lr in fold}))
    best = FoldScores(tuple(_best_score(fold, by_fold[fold], runs) for fold in range(folds)))
    complete = [lr for lr in rates if all(lr in by_fold[fold] for fold in range(folds))]
    shared = [FoldScores(tuple(_score(lr, by_fold[fold][lr]) for fold in range(folds))) for lr in complete]
    return ColumnScores(best, max(shared, key=lambda s: s.mean or 0.0, default=None), rates, tuple(runs))


def _best_score(fold: int, by_lr: Mapping[float, list[RunSummary]], runs: Sequence[RunSummary]) -> FoldScore:
    if by_lr:
        return max((_score(lr, of_lr) for lr, of_lr in sorted(by_lr.items())), key=lambda s: s.value or 0.0)
    started = [run for run in runs if run.coordinates.fold == fold]
    if not started:
        return FoldScore("missing", note="no run")
    furthest = max(started, key=lambda run: run.status.epoch)
    return FoldScore("unfinished", lr=furthest.coordinates.lr, note=furthest.progress_text)


def _score(lr: float, runs: list[RunSummary]) -> FoldScore:
    return FoldScore("finished", fmean(run.best["dice"] for run in runs), lr, tuple(runs))
