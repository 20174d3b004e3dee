"""Compare evaluated columns (outside methods, ensembles, test sets), which have neither epochs nor seeds.

The verdict is about these trained networks: nothing here measures how a second training run would differ. The test is
of the mean over folds of the mean difference per patient; its variance is that of patients within folds. Cases of no
fold are one group.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from pandas import DataFrame, Series

from brats_ablate.tables import maxt, statistics
from brats_ablate.tables.comparison import ALPHA, Comparison, Tested, decide
from brats_ablate.tables.difference import Settings
from brats_ablate.tables.results import NO_FOLD, PatientOf
from brats_ablate.tables.spec import Column
from brats_ablate.tables.statistics import LEVEL, Interval
from brats_ablate.tables.strata import paired_differences


def paired_test(differences: np.ndarray, groups: Sequence[int], patients: Sequence[str]) -> Tested:
    """Test the mean over groups of their mean differences, with patients nested in groups.

    Scans of one patient in a group are averaged. Ω = J⁻² Σ_f s² / n_f, with s² the variance pooled within the J groups
    of n_f patients, has n - J degrees of freedom; for one group this is the one-sample t-test. A group may have one
    patient.

    Args:
        differences: (cases,), one or more.
        groups: fold of each case.
        patients: patient of each case.

    Returns:
        A test without its verdict; `p_adjusted` is this test's own p, two-sided, of a difference of zero.
    """
    from scipy.special import stdtr, stdtrit

    of_patient = Series(differences).groupby([np.asarray(groups), np.asarray(patients)]).mean()
    of_group = of_patient.groupby(level=0)
    means, sizes = of_group.mean(), of_group.size()
    n, J = len(of_patient), len(means)
    degrees, delta = n - J, float(means.mean())
    test = Tested(cases=n, difference=delta, degrees=float(degrees))
    if degrees < 1:
        return test
    pooled = float(((of_patient - of_group.transform("mean")) ** 2).sum()) / degrees
    variance = pooled * float((1 / sizes).sum()) / J**2
    if variance <= 1e-24:  # equal within rounding
        return replace(test, variance=0.0, case_variance=0.0)
    error = math.sqrt(variance)
    half = float(stdtrit(degrees, (1 + LEVEL) / 2)) * error
    p = float(2 * stdtr(degrees, -abs(delta) / error))
    interval = Interval(delta - half, delta + half)
    return replace(test, variance=variance, case_variance=variance, interval=interval, p_adjusted=p)


def compare_evaluated(
    pairs: Sequence[tuple[int, int]],
    columns: Sequence[Column],
    rows: Sequence[DataFrame],
    settings: Settings,
    *,
    regions: Sequence[str],
    patient_of: PatientOf,
) -> list[Comparison]:
    """Compare each (column, baseline) of which at least one is evaluated, on their common cases.

    An evaluated and a trained column are not compared: a validation score is that of the best epoch. p-values are
    Holm-corrected over the pairs.

    Args:
        pairs: those that `TableSpec.is_trained` is not true of.
        columns: of the table.
        rows: the columns' `results.case_scores`.
        settings: of the table.
        regions: those of the mean.
        patient_of: several scans of one patient are averaged.
    """
    compared = [
        _not_comparable(pair, columns) or _compared(pair, rows[pair[0]], rows[pair[1]], regions, patient_of)
        for pair in pairs
    ]
    adjusted = statistics.holm(np.array([c.p_adjusted for c in compared]))
    tests = int(np.isfinite(adjusted).sum())
    return [_decide(replace(c, p_adjusted=float(p)), tests, settings) for c, p in zip(compared, adjusted, strict=True)]


def _not_comparable(pair: tuple[int, int], columns: Sequence[Column]) -> Comparison | None:
    trained = next((columns[i].experiment for i in pair if not columns[i].evaluation), None)
    if trained is None:
        return None
    commands = f"+experiment={trained} job=predict and job=evaluate"
    reason = f"validation scores of {trained} are of the best epoch; list evaluation: {trained}, from {commands}"
    return Comparison(column=pair[0], baseline=pair[1], reason=reason)


def _compared(
    pair: tuple[int, int], column: DataFrame, baseline: DataFrame, regions: Sequence[str], patient_of: PatientOf
) -> Comparison:
    """Compare two evaluations; until `_decide`, the reason is what is said besides the verdict."""
    c = Comparison(column=pair[0], baseline=pair[1])
    cases, differences = paired_differences(column, baseline, regions)
    if not cases:
        return replace(c, reason="they have no common case")
    folds, left_out = column.loc[cases, "fold"].to_numpy(), ""
    # Test cases would be one more fold among the folds; they are in the table of test sets.
    if len(in_fold := np.flatnonzero(folds != NO_FOLD)) and len(in_fold) < len(folds):
        left_out = f"{len(folds) - len(in_fold)} common cases of no fold are left out"
        cases, differences, folds = [cases[i] for i in in_fold], differences[in_fold], folds[in_fold]
    test = paired_test(differences.mean(axis=1), folds.tolist(), [patient_of(case) for case in cases])
    in_folds = len(set(folds.tolist()) - {NO_FOLD})
    return replace(c, **vars(test) | {"folds": in_folds, "reason": left_out})


def _decide(c: Comparison, tests: int, settings: Settings) -> Comparison:
    """Add the verdict; `tests` is the number of comparisons of the correction."""
    from scipy.special import stdtrit

    if c.cases == 0:
        return c
    if math.isnan(c.variance):
        return replace(c, reason="; ".join(filter(None, ["no two patients in one fold", c.reason])))
    if not math.isnan(c.p_adjusted):
        critical = float(stdtrit(c.degrees, 1 - ALPHA / (2 * tests)))
        smallest = maxt.minimum_detectable_effect(c.variance, c.degrees, critical)
        c = replace(c, critical=critical, minimum_detectable_effect=smallest)
    return decide(c, settings, ["these trained networks", *([c.reason] if c.reason else [])])
