"""Scores on cases that belong to no fold: the test sets among the columns of a table."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from pandas import DataFrame

from brats_ablate.labels.scheme import LabelScheme
from brats_ablate.tables.results import NO_FOLD, PatientOf
from brats_ablate.tables.statistics import Interval, t_interval


@dataclass(frozen=True)
class OutsideFolds:
    """One evaluated column on its cases of no fold."""

    column: int
    cases: int
    patients: int
    dice: np.ndarray
    """(R,) mean Dice of the regions."""
    mean: float
    """Mean over patients of the mean Dice of the averaged regions."""
    sd: float
    """Over patients; NaN for one."""
    interval: Interval
    """95 % interval of the mean (Student's t over patients)."""


def scores_outside_folds(rows: Sequence[DataFrame], labels: LabelScheme, patient_of: PatientOf) -> list[OutsideFolds]:
    """Score the columns that have cases of no fold; `rows` are the columns' `results.case_scores`.

    Several scans of a patient are averaged for mean, SD and interval.
    """
    sets = []
    for column, scores in enumerate(rows):
        scores = scores[scores["fold"] == NO_FOLD]
        if scores.empty:
            continue
        patients = [patient_of(case) for case in scores.index]
        of_patient = scores[list(labels.regions)].astype(float).groupby(patients).mean()
        means = of_patient[list(labels.averaged_names)].to_numpy().mean(axis=1)
        sd = float(means.std(ddof=1)) if len(means) > 1 else math.nan
        dice, interval = of_patient.to_numpy().mean(axis=0), t_interval(means)
        sets.append(OutsideFolds(column, len(scores), len(means), dice, float(means.mean()), sd, interval))
    return sets
