"""Scores and differences on subgroups of cases, by the size of one region."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from pandas import DataFrame, Series

from brats_ablate.labels.scheme import LabelScheme
from brats_ablate.tables import statistics
from brats_ablate.tables.results import PatientOf
from brats_ablate.tables.statistics import UNKNOWN, Interval

SMALL_VOXELS = 500
"""An enhancing tumor below this, or another region that cases are grouped by, is "small": its Dice depends on a few
voxels (1 mm³ each in BraTS)."""


@dataclass(frozen=True)
class Stratum:
    """One column on one subgroup of cases."""

    title: str
    column: int
    cases: int
    dice: np.ndarray
    """(R,) mean Dice of the regions."""
    difference: float = math.nan
    """To the baseline, mean over the patients that both have."""
    interval: Interval = UNKNOWN
    patients: int = 0
    """Behind the interval."""


def paired_differences(column: DataFrame, baseline: DataFrame, regions: Sequence[str]) -> tuple[list[str], np.ndarray]:
    """Return the cases that both have, and (cases, regions) the differences of their Dice."""
    if not column.index.equals(baseline.index):
        cases = column.index.intersection(baseline.index)
        column, baseline = column.loc[cases], baseline.loc[cases]
    return column.index.tolist(), column[list(regions)].to_numpy() - baseline[list(regions)].to_numpy()


def strata(
    pairs: Sequence[tuple[int, int | None]],
    rows: Sequence[DataFrame],
    patient_of: PatientOf,
    *,
    labels: LabelScheme,
) -> list[Stratum]:
    """Compare on cases without ET, with a small and with a larger one, by subgroup and column.

    Other label schemes group by another region (`LabelScheme.sized_region`). A column is left out where it has no such
    case. Scans of a patient are averaged for the interval. [] if no volume is recorded.
    """
    region = labels.sized_region
    sizes = pd.concat([Series(dtype=float), *(scores["reference_voxels"] for scores in rows if len(scores))]).dropna()
    sizes = sizes[~sizes.index.duplicated()]  # of resampled cases, runs and evaluations record different ones
    subgroups = {
        f"no {region}": sizes == 0,
        f"{region} < {SMALL_VOXELS} voxels": (sizes > 0) & (sizes < SMALL_VOXELS),
        f"{region} ≥ {SMALL_VOXELS} voxels": sizes >= SMALL_VOXELS,
    }
    stratified = []
    for title, is_member in subgroups.items():
        kept = [scores[scores.index.isin(sizes.index[is_member])] for scores in rows if is_member.any()]
        for column, baseline in pairs if kept else ():
            scores = kept[column]
            if scores.empty:
                continue
            stratum = Stratum(title, column, len(scores), scores[list(labels.regions)].to_numpy().mean(axis=0))
            reference = scores.iloc[:0] if baseline is None else kept[baseline]
            cases, differences = paired_differences(scores, reference, labels.averaged_names)
            if cases:
                patients = [patient_of(case) for case in cases]
                means = Series(differences.mean(axis=1)).groupby(patients).mean().to_numpy()
                interval = statistics.t_interval(means)
                stratum = replace(stratum, difference=float(means.mean()), interval=interval, patients=len(means))
            stratified.append(stratum)
    return stratified
