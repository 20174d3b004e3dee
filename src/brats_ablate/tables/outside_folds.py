"""Scores on cases that belong to no fold: the test sets among the columns of a table."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from pandas import DataFrame

from brats_ablate.labels.scheme import LabelScheme
from brats_ablate.tables import statistics
from brats_ablate.tables.statistics import Interval

NO_FOLD = -1
"""Value of `fold` in `results.case_scores` for a case of no fold."""


@dataclass(frozen=True)
class OutsideFolds:
    """One evaluated column on its cases of no fold."""

    column: int
    cases: int
    dice: np.ndarray
    """(R,) mean Dice of the regions."""
    mean: float
    """Mean over cases of the mean Dice of the averaged regions."""
    sd: float
    """Over cases; NaN for one case."""
    interval: Interval
    """95 % interval of the mean (bootstrap over cases)."""


def scores_outside_folds(
    rows: Sequence[DataFrame], labels: LabelScheme, *, resamples: int, seed: int
) -> list[OutsideFolds]:
    """Score the columns that have cases of no fold; `rows` are the columns' `results.case_scores`."""
    sets = []
    for column, scores in enumerate(rows):
        scores = scores[scores["fold"] == NO_FOLD]
        if scores.empty:
            continue
        means = scores[list(labels.averaged_names)].to_numpy(float).mean(axis=1)
        sd = float(means.std(ddof=1)) if len(means) > 1 else math.nan
        interval = statistics.bootstrap_intervals(means[:, None], resamples, seed)[0]
        dice = scores[list(labels.regions)].to_numpy(float).mean(axis=0)
        sets.append(OutsideFolds(column, len(means), dice, float(means.mean()), sd, interval))
    return sets
