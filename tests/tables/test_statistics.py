"""Oracles: scipy's t-test, and cases computed by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from brats_ablate.tables import statistics as s


def _differences(n: int, columns: int = 3, seed: int = 0) -> np.ndarray:
    draw = np.random.default_rng(seed)
    values = draw.standard_t(3, size=(n, columns)) * 0.01
    values[draw.random((n, columns)) < 0.3] = 0.0  # ties, as cases that score 1 in both
    return values + 0.001 * np.arange(columns)


def test_a_t_interval_is_scipys() -> None:
    values = _differences(12)[:, 0]
    expected = stats.ttest_1samp(values, 0).confidence_interval()
    assert s.t_interval(values) == s.Interval(pytest.approx(expected.low), pytest.approx(expected.high))
    assert math.isnan(s.t_interval(values[:1]).low)


def test_holm_by_hand() -> None:
    # Sorted .01 .02 .03 .04: ×4, ×3, ×2, ×1, made monotone.
    assert s.holm(np.array([0.04, 0.01, 0.03, 0.02])).tolist() == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert s.holm(np.array([0.9, 0.8])).tolist() == [1.0, 1.0]


def test_holm_does_not_count_unknown_p() -> None:
    adjusted = s.holm(np.array([0.01, np.nan, 0.03]))
    assert adjusted[[0, 2]].tolist() == pytest.approx([0.02, 0.03])
    assert np.isnan(adjusted[1])


def test_variance_components_by_hand() -> None:
    # Within: (1 + 1) / 2 sums of squares over 2 degrees of freedom; folds' means 1 and 5: variance 8.
    components = s.variance_components([[0.0, 2.0], [4.0, 6.0]])
    assert components.seed_sd == pytest.approx(math.sqrt(2))
    assert components.fold_sd == pytest.approx(math.sqrt(8 - 2 / 2))


def test_variance_components_need_replicates() -> None:
    assert s.variance_components([[0.9], [0.8]]) is None
    assert s.variance_components([[0.9, 0.8]]) is None
