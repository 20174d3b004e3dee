"""From runs to the numbers of a table: per fold the best learning rate, beside it the one best over all folds.

Figure of merit (paper, section 3): per fold the highest mean Dice over validated epochs, averaged over the folds.
Seeds of the same fold and learning rate are averaged. A missing fold is never averaged over: the mean is then absent.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from brats_ablate.tables.run_summary import RunSummary

FINISHED, UNFINISHED, MISSING = "finished", "unfinished", "missing"


@dataclass(frozen=True)
class Cell:
    """One fold of one column."""

    state: str
    value: float | None = None
    lr: float | None = None
    runs: tuple[RunSummary, ...] = ()
    """The runs that the value is the mean of: one per seed, all of one learning rate."""
    note: str = ""


@dataclass(frozen=True)
class Scores:
    """One column's folds. `mean` is None unless every fold is finished."""

    cells: tuple[Cell, ...]

    @property
    def values(self) -> list[float | None]:
        return [cell.value for cell in self.cells]

    @property
    def finished(self) -> list[int]:
        """The folds that have a value."""
        return [fold for fold, cell in enumerate(self.cells) if cell.value is not None]

    @property
    def mean(self) -> float | None:
        values = [v for v in self.values if v is not None]
        return fmean(values) if len(values) == len(self.cells) else None

    @property
    def sd(self) -> float | None:
        """Standard deviation over the folds (n - 1)."""
        values = [v for v in self.values if v is not None]
        return stdev(values) if len(values) == len(self.cells) > 1 else None


@dataclass(frozen=True)
class ColumnScores:
    """One column, scored in both ways."""

    best_lr: Scores
    """Per fold the learning rate that did best there, as the paper."""
    one_lr: Scores | None
    """The one learning rate that is best over all folds; None if none has every fold."""
    learning_rates: tuple[float, ...]
    """Those with a finished run."""
    runs: tuple[RunSummary, ...]
    """All runs of the experiment, finished or not."""

    @property
    def lr_optimism(self) -> float | None:
        """How much choosing the learning rate per fold, on the fold itself, adds to the mean."""
        if self.one_lr is None or self.best_lr.mean is None or self.one_lr.mean is None:
            return None
        return self.best_lr.mean - self.one_lr.mean

    @property
    def epoch_optimism(self) -> float | None:
        """Mean Dice of the best epoch minus that of the last: what choosing the epoch on the fold itself adds."""
        chosen = [run for cell in self.best_lr.cells for run in cell.runs]
        if self.best_lr.mean is None or any("dice" not in run.last for run in chosen):
            return None
        return fmean(run.best["dice"] - run.last["dice"] for run in chosen)


def score(runs: Sequence[RunSummary], folds: int) -> ColumnScores:
    """Score an experiment's runs over folds 0 … folds - 1."""
    by_fold: dict[int, dict[float, list[RunSummary]]] = defaultdict(lambda: defaultdict(list))
    for run in runs:
        if run.is_finished:
            by_fold[run.coordinates.fold][run.coordinates.lr].append(run)
    rates = tuple(sorted({lr for fold in by_fold.values() for lr in fold}))
    best = Scores(tuple(_best_cell(fold, by_fold[fold], runs) for fold in range(folds)))
    complete = [lr for lr in rates if all(lr in by_fold[fold] for fold in range(folds))]
    tables = [Scores(tuple(_cell(lr, by_fold[fold][lr]) for fold in range(folds))) for lr in complete]
    one = max(tables, key=lambda s: s.mean or 0.0, default=None)
    return ColumnScores(best, one, rates, tuple(runs))


def _best_cell(fold: int, by_lr: dict[float, list[RunSummary]], runs: Sequence[RunSummary]) -> Cell:
    if by_lr:
        return max((_cell(lr, found) for lr, found in sorted(by_lr.items())), key=lambda c: c.value or 0.0)
    started = [run for run in runs if run.coordinates.fold == fold]
    if not started:
        return Cell(MISSING, note="no run")
    furthest = max(started, key=lambda run: run.epoch)
    return Cell(UNFINISHED, lr=furthest.coordinates.lr, note=furthest.where)


def _cell(lr: float, runs: list[RunSummary]) -> Cell:
    return Cell(FINISHED, fmean(run.best["dice"] for run in runs), lr, tuple(runs))
