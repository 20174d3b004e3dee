"""The score under test: run directories → each patient's mean Dice over the last epochs of every run.

The paper's figure, the best epoch, is chosen on the fold that it is scored on, which favors columns whose epochs vary
more. The last epochs, at learning rates near zero, are fixed in advance.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from brats_ablate.labels.scheme import LabelScheme
from brats_ablate.runs.case_table import CaseTable
from brats_ablate.tables.results import PatientOf, passing_over, require_recorded_regions, require_regions
from brats_ablate.tables.scores import RunSummary

EPOCHS = 10
"""Validated epochs that are averaged, of the final tenth of the schedule; at least the last one."""

RunKey = tuple[float, int]
"""Learning rate and seed of a run."""


@dataclass(frozen=True)
class RunScores:
    """One finished run on its fold's patients; scans of a patient are averaged."""

    patients: tuple[str, ...]
    """Sorted."""
    dice: np.ndarray
    """(n,) mean Dice of the averaged regions."""
    sized_dice: np.ndarray
    """(n,) Dice of the region by whose size cases are grouped."""
    sized_voxels: np.ndarray
    """(n,) its largest reference volume; NaN where not recorded."""


ColumnRuns = Mapping[RunKey, Mapping[int, RunScores]]
"""(lr, seed) → fold → scores, of a column's finished runs that have case rows."""


@dataclass(frozen=True)
class SharedScores:
    """Columns on the patients and runs that they have in common."""

    x: np.ndarray
    """(columns, L, n) mean Dice."""
    fold: np.ndarray
    """(n,) position of the patient's fold among the shared ones."""
    sized_dice: np.ndarray
    """(columns, n) of the sized region, mean over the runs."""
    sized_voxels: np.ndarray
    """(n,)"""


@dataclass(frozen=True)
class SharedSet:
    """What columns have in common; pairs of the same set are tested together."""

    folds: tuple[int, ...]
    runs: tuple[RunKey, ...]
    patients: tuple[tuple[str, ...], ...]
    """Per fold, sorted."""

    @property
    def size(self) -> int:
        """Number of patients."""
        return sum(map(len, self.patients))


def read_runs(runs: Iterable[RunSummary], labels: LabelScheme, patient_of: PatientOf) -> ColumnRuns:
    """Read the scores under test of an experiment's finished runs.

    Raises:
        DataError: a run was scored on other regions than `labels` has.
    """
    tested: dict[RunKey, dict[int, RunScores]] = {}

    @lru_cache  # the runs of a fold have the same cases
    def patients_of(cases: tuple[str, ...]) -> list[str]:
        return [patient_of(case) for case in cases]

    for run in runs:
        scores = None
        with passing_over():
            scores = _run_scores(run, labels, patients_of) if run.is_finished else None
        if scores is not None:
            tested.setdefault((run.coordinates.lr, run.coordinates.seed), {})[run.coordinates.fold] = scores
    return tested


def epochs_under_test(validated: Sequence[int], epochs: int) -> list[int]:
    """Return the epochs that count: the last `EPOCHS` validated ones, but only those of the final tenth of `epochs`."""
    last = sorted(set(validated))[-EPOCHS:]
    return [epoch for epoch in last if 10 * epoch > 9 * epochs] or last[-1:]


def shared_set(*columns: ColumnRuns) -> SharedSet:
    """Return the folds that all columns have, and the runs and patients that all have in every one of them."""
    folds = tuple(sorted(set.intersection(*map(_folds, columns))))
    common = sorted(set.intersection(*(set(column) for column in columns)))
    runs = tuple(key for key in common if all(fold in column[key] for column in columns for fold in folds))
    patients = (_common_patients([column[key][fold] for column in columns for key in runs]) for fold in folds)
    return SharedSet(folds, runs, tuple(patients) if runs else ())


def gather(shared: SharedSet, columns: Sequence[ColumnRuns]) -> SharedScores:
    """Arrange the scores of columns that all have the runs and patients of `shared`."""
    x = np.empty((len(columns), len(shared.runs), shared.size))
    sized, voxels = np.empty_like(x), np.empty(shared.size)
    ends = np.cumsum([len(patients) for patients in shared.patients])
    for fold, patients, end in zip(shared.folds, shared.patients, ends, strict=True):
        part = slice(end - len(patients), end)
        for c, column in enumerate(columns):
            for r, key in enumerate(shared.runs):
                scores = column[key][fold]
                rows = _positions(scores.patients, patients)
                x[c, r, part], sized[c, r, part] = scores.dice[rows], scores.sized_dice[rows]
                voxels[part] = scores.sized_voxels[rows]
    of_fold = np.repeat(np.arange(len(shared.folds)), [len(patients) for patients in shared.patients])
    return SharedScores(x, of_fold, sized.mean(axis=1), voxels)


def _folds(runs: ColumnRuns) -> set[int]:
    return {fold for by_fold in runs.values() for fold in by_fold}


def _common_patients(scores: Sequence[RunScores]) -> tuple[str, ...]:
    first = scores[0].patients
    if all(other.patients == first for other in scores[1:]):
        return first
    return tuple(sorted(set(first).intersection(*(other.patients for other in scores[1:]))))


def _positions(patients: tuple[str, ...], wanted: tuple[str, ...]) -> slice | list[int]:
    if patients == wanted:
        return slice(None)
    at = {patient: i for i, patient in enumerate(patients)}
    return [at[patient] for patient in wanted]


def _run_scores(
    run: RunSummary, labels: LabelScheme, patients_of: Callable[[tuple[str, ...]], list[str]]
) -> RunScores | None:
    """Average one run over its tested epochs, then over each patient's scans; None without case rows."""
    epochs = epochs_under_test(run.validated_epochs, run.status.epochs)
    of_epochs = run.directory.case_tables(set(epochs))
    run.directory.require_cases(of_epochs, epochs)
    tables = list(of_epochs.values())
    require_recorded_regions(run, tables)
    cases = _common_cases(tables)
    if not cases:
        return None
    scored = list(tables[0].dice)
    require_regions(run.coordinates.name, scored, labels.region_names)
    rows = [_positions(table.cases, cases) for table in tables]
    dice = {r: np.mean([table.dice[r][at] for table, at in zip(tables, rows, strict=True)], axis=0) for r in scored}
    averaged = np.mean([dice[region] for region in labels.averaged_names], axis=0)
    voxels = tables[-1].sizes.get(labels.sized_region, np.full(len(tables[-1].cases), np.nan))[rows[-1]]
    return over_scans(patients_of(cases), averaged, dice[labels.sized_region], voxels)


def _common_cases(tables: Sequence[CaseTable]) -> tuple[str, ...]:
    if not tables or all(table.cases is tables[0].cases for table in tables):
        return tables[0].cases if tables else ()
    return tuple(sorted(set.intersection(*(set(table.cases) for table in tables))))


def over_scans(
    patients: Sequence[str] | np.ndarray, dice: np.ndarray, sized: np.ndarray, voxels: np.ndarray
) -> RunScores:
    """Average the scores of each patient's scans; a patient without a Dice is left out.

    All four have one entry per scan: patients, Dice of the averaged regions and of the sized one, reference voxels.
    """
    names, index = np.unique(np.array(patients, dtype=str), return_inverse=True)
    scans = np.bincount(index)
    largest = np.full(len(names), -np.inf)
    with np.errstate(invalid="ignore"):  # not recorded: NaN
        np.maximum.at(largest, index, voxels)
    of_patient = (np.bincount(index, weights=values) / scans for values in (dice, sized))
    mean, mean_sized = of_patient
    known = np.isfinite(mean)
    kept = tuple(names[known].tolist())
    return RunScores(kept, mean[known], mean_sized[known], largest[known])
