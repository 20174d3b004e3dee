"""Oracles: scipy's bootstrap, and cases computed by hand."""

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


def test_bootstrap_intervals_are_symmetric_quantiles_of_scipys_bootstrap_at_the_expanded_level() -> None:
    differences = _differences(40)
    tail = stats.norm.cdf(math.sqrt(40 / 39) * stats.t.ppf(0.025, 39))
    for column, interval in enumerate(s.bootstrap_intervals(differences, 40_000, seed=1)):
        values = differences[:, column]
        means = stats.bootstrap(
            (values,), np.mean, n_resamples=40_000, method="percentile", rng=np.random.default_rng(2)
        ).bootstrap_distribution
        half = np.quantile(np.abs(means - values.mean()), 1 - 2 * tail)
        assert interval.low == pytest.approx(values.mean() - half, abs=0.03 * half)
        assert interval.high == pytest.approx(values.mean() + half, abs=0.03 * half)


def test_bootstrap_interval_is_wider_than_the_plain_percentiles_for_few_cases() -> None:
    differences = _differences(6, columns=1)
    interval = s.bootstrap_intervals(differences, 20_000, seed=0)[0]
    plain = stats.bootstrap((differences[:, 0],), np.mean, n_resamples=20_000, method="percentile").confidence_interval
    assert interval.high - interval.low > 1.2 * (plain.high - plain.low)


def test_bootstrap_of_equal_differences_has_no_width_and_of_one_case_none() -> None:
    equal = s.bootstrap_intervals(np.full((10, 1), 0.25), 1000, seed=0)[0]
    assert (equal.low, equal.high) == (0.25, 0.25)
    assert math.isnan(s.bootstrap_intervals(np.ones((1, 1)), 1000, seed=0)[0].low)


def test_the_seed_decides_the_resampling() -> None:
    differences = _differences(50)
    assert s.bootstrap_intervals(differences, 500, 3) == s.bootstrap_intervals(differences, 500, 3)
    assert s.bootstrap_intervals(differences, 500, 3) != s.bootstrap_intervals(differences, 500, 4)


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
    assert components is not None
    assert components.seed_sd == pytest.approx(math.sqrt(2))
    assert components.fold_sd == pytest.approx(math.sqrt(8 - 2 / 2))
    assert components.replicates == 2


def test_variance_components_need_replicates() -> None:
    assert s.variance_components([[0.9], [0.8]]) is None
    assert s.variance_components([[0.9, 0.8]]) is None
