"""Designs of a study compared: the difference that each detects, and its GPU-hours (on CPUs its CPU-hours).

A design is a number of training runs per fold and column, a number of folds, and a validation schedule. Learning rates
and seeds are replicates alike: the score under test averages them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np

from brats_ablate.runtime.text import counted
from brats_ablate.tables import maxt
from brats_ablate.tables.comparison import Comparison
from brats_ablate.tables.cost import unit_of_device_hours
from brats_ablate.tables.scores import RunSummary
from brats_ablate.tables.table import Number, Row, Table, Words, dice, headers
from brats_ablate.tables.variance import degrees_of_freedom

INTERIM = 1 / 3.09
"""Time of an interim validation relative to a final one where no run has both: measured on a CPU (docs/speed.md)."""
RUNS = (1, 2, 3, 5)
"""Runs per fold and column that are compared."""
_DRAWS = 10_000


@dataclass(frozen=True)
class VarianceParts:
    """Variance of the difference of two columns on one fold; a mean over J folds has a J-th of it."""

    fixed: float
    """What the runs of a fold share."""
    per_run: float
    """In what they differ; divided by their number."""

    @classmethod
    def assumed(cls, patients_per_fold: float) -> VarianceParts:
        """Return the variance of simulated BraTS tables (generator B of docs/statistics.md).

        Per patient and per fold's training, each shared by the runs of a fold and of one run.
        """
        patients, patients_of_run, training, training_of_run = 3.8e-5, 6.4e-5, 1.3e-7, 5.3e-7
        return cls(patients / patients_per_fold + training, patients_of_run / patients_per_fold + training_of_run)

    @classmethod
    def of_study(cls, comparisons: Iterable[Comparison]) -> VarianceParts | None:
        """Return the mean of a study's comparisons; None if none of them has two runs per fold."""
        known = [(c.folds, *c.variance_by_runs) for c in comparisons if c.variance_by_runs is not None]
        if not known:
            return None
        return cls(fmean(folds * fixed for folds, fixed, _ in known), fmean(folds * run for folds, _, run in known))

    def detectable(self, columns: int, runs: int, folds: int) -> float:
        """Return the difference that a table of `columns`, baseline included, detects with 80 % power."""
        degrees, others = degrees_of_freedom(columns, runs, folds), columns - 1
        covariance = (np.eye(others) + np.ones((others, others))) / 2  # a common baseline
        critical = maxt.step_down(np.zeros(others), covariance, degrees, draws=_DRAWS, seed=0).critical
        return maxt.minimum_detectable_effect((self.fixed + self.per_run / runs) / folds, degrees, critical)


@dataclass(frozen=True)
class EpochSeconds:
    """Device-seconds of an epoch of the mean experiment."""

    unit: str
    """CPU-hours or GPU-hours."""
    training: float
    interim: float
    """Of an interim validation."""
    final: float
    """Of a final validation."""

    @classmethod
    def of_study(cls, runs: Iterable[RunSummary]) -> EpochSeconds | None:
        """Return the mean of finished runs, each experiment counting once; None if there are none."""
        finished = [run for run in runs if run.is_finished and run.seconds]
        of_experiment: dict[str, list[tuple[float, float, float]]] = {}
        for run in finished:
            of_experiment.setdefault(run.coordinates.name, []).append(_times(run))
        if not of_experiment:
            return None
        means = [[fmean(column) for column in zip(*times, strict=True)] for times in of_experiment.values()]
        return cls(unit_of_device_hours(finished), *(fmean(column) for column in zip(*means, strict=True)))

    def of_run(self, epochs: int, interim: int, final: int) -> float:
        """Return the device-seconds of a run with these numbers of epochs and validations."""
        return epochs * self.training + interim * self.interim + final * self.final


def _times(run: RunSummary) -> tuple[float, float, float]:
    """Return device-seconds of an epoch's training, and of an interim and a final validation."""
    devices = int(run.manifest.get("world_size") or 1)
    final = run.validation_seconds or 0.0
    interim = INTERIM * final if run.interim_seconds is None else run.interim_seconds
    return devices * run.training_seconds / run.recorded_epochs, devices * interim, devices * final


def designs_table(
    parts: VarianceParts,
    seconds: EpochSeconds | None,
    *,
    columns: int,
    experiments: int,
    folds: Sequence[int],
    epochs: int,
    validations: Mapping[str, tuple[int, int]],
    detect: float | None,
    notes: Sequence[str],
) -> Table:
    """Return the table of designs.

    Args:
        parts: variance of a difference.
        seconds: None if no time is known.
        columns: of the largest table, baseline included.
        experiments: distinct ones, which are trained.
        folds: numbers of folds.
        epochs: of a run.
        validations: name of a schedule -> its interim and final validations of a run.
        detect: mark the designs that detect this difference.
        notes: where variances and times come from.
    """
    unit = seconds.unit if seconds else "GPU-hours"
    rows: list[Row] = []
    cheapest: tuple[float, str] | None = None
    for J in folds:
        for runs in RUNS:
            least = parts.detectable(columns, runs, J)
            trained = experiments * J * runs
            hours = {n: trained * seconds.of_run(epochs, *v) / 3600 for n, v in validations.items()} if seconds else {}
            cells = [Number(hours.get(name), "{:,.1f}".format) for name in validations]
            reached = detect is not None and least <= detect
            for name, price in hours.items() if reached else ():
                plan = f"{counted(runs, 'run')} per fold, {J} folds, validation={name}: "
                plan += f"{price:,.1f} {unit}"
                cheapest = min(cheapest or (price, plan), (price, plan))
            marked = [Words("yes" if reached else "no")] if detect is not None else []
            rows.append((Number(runs, str), Number(J, str), Number(trained, str), *cells, Number(least, dice), *marked))
    heads = ["runs per fold", "folds", "training runs", *(f"{unit}, {name}" for name in validations)]
    heads += ["min. detectable Δ", *([f"detects {detect:g}"] if detect is not None else [])]
    title = f"Designs: {experiments} experiments, tables of up to {columns} columns, {epochs:,} epochs"
    best = [f"Cheapest that detects {detect:g}: {cheapest[1]}."] if cheapest else []
    if detect is not None and seconds and not cheapest:
        best = [f"No design above detects {detect:g}; more runs per fold do if what they differ in dominates."]
    text = (
        "Runs per fold: learning rates and seeds count alike. Min. detectable Δ: with 80 % power, adjusted for the "
        "columns."
    )
    return Table("designs", title, headers(*heads), tuple(rows), (text, *notes, *best))
