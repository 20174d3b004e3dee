"""Oracles: scipy's bootstrap, permutation_test and ttest_rel, and cases computed by hand."""

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


def test_exact_permutation_p_is_scipys() -> None:
    differences = _differences(11)
    p_values = s.permutation_p_values(differences, 10, seed=0)
    for column in range(3):
        expected = stats.permutation_test(
            (differences[:, column],), np.mean, permutation_type="samples", n_resamples=np.inf
        ).pvalue
        assert p_values[column] == pytest.approx(expected, abs=1e-12)


def test_sampled_permutation_p_is_near_scipys() -> None:
    differences = _differences(60)
    p_values = s.permutation_p_values(differences, 50_000, seed=0)
    for column in range(3):
        expected = stats.permutation_test(
            (differences[:, column],), np.mean, permutation_type="samples", n_resamples=50_000,
            rng=np.random.default_rng(5),
        ).pvalue  # fmt: skip
        # scipy doubles one tail: its p has a standard error of at most 2 · sqrt(1/4 / n).
        assert p_values[column] == pytest.approx(expected, abs=4 * 2 * math.sqrt(0.25 / 50_000))


def test_permutation_p_of_no_difference_is_one() -> None:
    assert s.permutation_p_values(np.zeros((50, 2)), 999, seed=0).tolist() == [1.0, 1.0]
    assert s.permutation_p_values(np.zeros((3, 1)), 999, seed=0).tolist() == [1.0]


def test_permutation_p_counts_ties_as_extreme() -> None:
    # ±1 for each of 4 cases: |sum| = 4 in 2 of 16 patterns.
    assert s.permutation_p_values(np.ones((4, 1)), 99, seed=0)[0] == 2 / 16


def test_the_seed_decides_the_resampling() -> None:
    differences = _differences(50)
    assert s.bootstrap_intervals(differences, 500, 3) == s.bootstrap_intervals(differences, 500, 3)
    assert s.bootstrap_intervals(differences, 500, 3) != s.bootstrap_intervals(differences, 500, 4)


def test_corrected_t_is_the_paired_t_with_a_larger_variance() -> None:
    # The paper's DS against its baseline, folds 0 to 4.
    ds, baseline = [0.9111, 0.9115, 0.9175, 0.9268, 0.9074], [0.9087, 0.9100, 0.9162, 0.9238, 0.9061]
    plain = stats.ttest_rel(ds, baseline)
    t = plain.statistic * math.sqrt((1 / 5) / (1 / 5 + 1 / 4))
    expected = 2 * stats.t.sf(t, 4)
    assert s.corrected_t_p_value(np.subtract(ds, baseline), 5) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(("differences", "expected"), [([0.0] * 5, 1.0), ([0.01] * 5, 0.0)])
def test_corrected_t_of_equal_folds(differences: list[float], expected: float) -> None:
    assert s.corrected_t_p_value(np.array(differences), 5) == expected


def test_corrected_t_of_one_fold_is_unknown() -> None:
    assert math.isnan(s.corrected_t_p_value(np.array([0.1]), 5))


def test_holm_by_hand() -> None:
    # Sorted .01 .02 .03 .04: ×4, ×3, ×2, ×1, made monotone.
    assert s.holm(np.array([0.04, 0.01, 0.03, 0.02])).tolist() == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert s.holm(np.array([0.9, 0.8])).tolist() == [1.0, 1.0]


def test_holm_does_not_count_unknown_p() -> None:
    adjusted = s.holm(np.array([0.01, np.nan, 0.03]))
    assert adjusted[[0, 2]].tolist() == pytest.approx([0.02, 0.03])
    assert np.isnan(adjusted[1])


def test_required_cases_and_detectable_effect_are_inverse() -> None:
    n = s.required_sample_size(sd=0.05, difference=0.002)
    assert n == math.ceil(((stats.norm.ppf(0.975) + stats.norm.ppf(0.8)) * 0.05 / 0.002) ** 2)
    assert s.minimum_detectable_effect(0.05, int(n)) == pytest.approx(0.002, rel=1e-3)
    assert s.required_sample_size(0.05, 0.0) == math.inf


def test_stated_power_holds() -> None:
    sd, difference = 0.05, 0.01
    n = int(s.required_sample_size(sd, difference))
    draw = np.random.default_rng(0)
    samples = draw.normal(difference, sd, size=(4000, n))
    rejected = stats.ttest_1samp(samples, 0, axis=1).pvalue <= 0.05
    assert rejected.mean() == pytest.approx(0.8, abs=0.03)


def test_required_seeds_by_hand() -> None:
    # One seed: sd of the difference of two five-fold means is sqrt(2 / 5) · 0.002 = 0.00126; 2.8 times that is 0.0035.
    assert s.required_seeds(0.002, folds=5, difference=0.0036) == 1
    assert s.required_seeds(0.002, folds=5, difference=0.0035) == 2
    assert s.required_seeds(0.002, folds=5, difference=0.0) == math.inf


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


def test_noise_floor_is_what_seeds_alone_reach() -> None:
    draw = np.random.default_rng(0)
    seed_sd, folds = 0.003, 5
    floor = s.noise_floor([s.Components(0.01, seed_sd, 1.0)], folds)
    assert floor is not None
    means = draw.normal(0, seed_sd, size=(20_000, 2, folds)).mean(axis=2)
    assert (np.abs(means[:, 0] - means[:, 1]) > floor).mean() == pytest.approx(0.05, abs=0.005)
    assert s.noise_floor([], folds) is None
