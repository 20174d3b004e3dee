from __future__ import annotations

import numpy as np
import pytest
from pandas import DataFrame
from schemes import BRATS2021
from scipy import stats

from brats_ablate.tables.outside_folds import scores_outside_folds


def test_scans_of_a_patient_are_one_value() -> None:
    """Patients .6 (mean of .5 and .7), .8 and .9; a case of a fold does not count."""
    cases = ["a-1", "a-2", "b-1", "c-1", "d-1"]
    table = DataFrame({region: [0.5, 0.7, 0.8, 0.9, 0.1] for region in BRATS2021.regions}, index=cases)
    rows = [table.assign(fold=[-1, -1, -1, -1, 0]), table.assign(fold=0)]
    (found,) = scores_outside_folds(rows, BRATS2021, lambda case: case[0])
    assert (found.column, found.cases, found.patients) == (0, 4, 3)
    means = np.array([0.6, 0.8, 0.9])
    assert (found.mean, found.sd) == pytest.approx((means.mean(), means.std(ddof=1)))
    np.testing.assert_allclose(found.dice, [means.mean()] * 3)
    expected = stats.ttest_1samp(means, 0).confidence_interval()
    assert (found.interval.low, found.interval.high) == pytest.approx((expected.low, expected.high))
