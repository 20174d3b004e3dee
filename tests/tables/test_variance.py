"""Oracles: the formulas of docs/statistics.md in loops, the paired t-test over folds, and known variance components."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from scipy import stats

from brats_ablate.tables.variance import FoldStatistics, Variances, estimate, training_noise

FOLD = np.repeat(np.arange(5), [7, 6, 6, 8, 5])


def _scores(k: int, L: int, seed: int = 0, fold: np.ndarray = FOLD) -> np.ndarray:
    draw = np.random.default_rng(seed)
    runs = 0.02 * draw.normal(size=(k, L, fold.max() + 1))
    patients = 0.1 * draw.normal(size=len(fold)) + 0.05 * draw.normal(size=(k, 1, len(fold)))
    x: np.ndarray = 0.8 + runs[:, :, fold] + patients + 0.05 * draw.normal(size=(k, L, len(fold)))
    return x


def _against_first(k: int) -> np.ndarray:
    return np.hstack([-np.ones((k - 1, 1)), np.eye(k - 1)])


def _estimate(x: np.ndarray, fold: np.ndarray = FOLD) -> Variances:
    return estimate(FoldStatistics.of_patients(x, fold), _against_first(len(x)))


@dataclass
class InLoops:
    """The same numbers, computed from their definitions."""

    omega: np.ndarray
    training: np.ndarray
    variance: np.ndarray
    degrees: float


def _residual_variance(values: np.ndarray, fold: np.ndarray) -> float:
    """Of (rows, n), after row and patient means within each fold, pooled over folds."""
    squares, rows, n = 0.0, len(values), values.shape[1]
    for f in set(fold.tolist()):
        part = values[:, fold == f]
        for r in range(rows):
            for i in range(part.shape[1]):
                squares += (part[r, i] - part[r].mean() - part[:, i].mean() + part.mean()) ** 2
    return squares / ((n - len(set(fold.tolist()))) * (rows - 1))


def _mean_square(table: np.ndarray) -> float:
    rows, columns = table.shape
    squares = 0.0
    for r in range(rows):
        for c in range(columns):
            squares += (table[r, c] - table[r].mean() - table[:, c].mean() + table.mean()) ** 2
    return squares / ((rows - 1) * (columns - 1))


def _in_loops(x: np.ndarray, fold: np.ndarray) -> InLoops:
    k, L, n = x.shape
    J = int(fold.max()) + 1
    of_fold_mean = sum(1 / (fold == f).sum() for f in range(J)) / J
    y = x.mean(axis=1)
    d = y[1:] - y[0]
    S = np.zeros((k - 1, k - 1))
    for i in range(n):
        deviation = d[:, i] - d[:, fold == fold[i]].mean(axis=1)
        S += np.outer(deviation, deviation) / (n - J)
    omega = sum(S / (fold == f).sum() for f in range(J)) / J**2
    m = np.array([[y[c, fold == f].mean() for f in range(J)] for c in range(k)])
    ms, msc, v1 = _mean_square(m), _residual_variance(y, fold) * of_fold_mean, (k - 1) * (J - 1)
    if L == 1:
        tau = max(ms - msc, 0)
        prior = 0 if k == 2 else min(8, v1)
        D = m[1:] - m[0]
        training = np.full(k, tau)
        if k > 2:  # the baseline of several columns
            residuals = m - m.mean(axis=1, keepdims=True) - m.mean(axis=0) + m.mean()
            own = ((residuals[0] ** 2).sum() / (J - 1) - ms / k) * k / (k - 2)
            training[0] += max(own - ms, 0)
        variance = [
            max(
                (prior * (J * omega[c, c] + tau + training[0]) + (J - 1) * D[c].var(ddof=1)) / (prior + J - 1),
                J * omega[c, c],
            )
            / J
            for c in range(k - 1)
        ]
        return InLoops(omega, training, np.array(variance), prior + J - 1)
    fold_means = np.array([[[x[c, r, fold == f].mean() for f in range(J)] for r in range(L)] for c in range(k)])
    msl = np.array([_mean_square(fold_means[c]) for c in range(k)])
    mslc = np.array([_residual_variance(x[c], fold) * of_fold_mean for c in range(k)])
    dl = (L - 1) * (J - 1)
    v2 = k * dl
    v0 = msc + max(msl.mean() - mslc.mean(), 0) / L
    tau = max(max(ms, (v1 * ms + v2 * v0) / (v1 + v2)) - msc, 0)
    u = np.maximum((8 * msl.mean() + dl * msl) / (8 + dl) - mslc, 0.05 * mslc)
    training = tau * u / u.mean()
    if k > 2:  # the baseline of several columns
        training[0] = max(training[0], tau * (msl[0] - mslc[0]) / u.mean())
    variance = np.diag(omega) + (training[1:] + training[0]) / J
    return InLoops(omega, training, variance, v1 + min(v2 / 2, v1))


@pytest.mark.parametrize(("k", "L"), [(2, 1), (2, 3), (4, 1), (4, 2), (6, 3)])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_every_part_is_that_of_its_definition(k: int, L: int, seed: int) -> None:
    x = _scores(k, L, seed)
    v, expected = _estimate(x), _in_loops(x, FOLD)
    np.testing.assert_allclose(v.case_covariance, expected.omega, rtol=1e-9)
    np.testing.assert_allclose(v.training, expected.training, rtol=1e-9, atol=1e-15)
    np.testing.assert_allclose(v.variance, expected.variance, rtol=1e-9)
    assert v.degrees == expected.degrees
    by_fold = np.array([[x[c][:, f == FOLD].mean() for f in range(5)] for c in range(k)]).mean(axis=1)
    np.testing.assert_allclose(v.differences, by_fold[1:] - by_fold[0])


def test_two_columns_of_one_run_are_the_paired_t_test_over_folds_where_folds_vary_more_than_patients() -> None:
    x = _scores(2, 1)
    x[1] += np.array([0.3, -0.2, 0.1, 0.4, 0.0])[FOLD]
    v = _estimate(x)
    means = [[row[f == FOLD].mean() for f in range(5)] for row in x[:, 0]]
    paired = stats.ttest_rel(means[1], means[0])
    assert v.degrees == paired.df
    assert v.differences[0] / np.sqrt(v.variance[0]) == pytest.approx(paired.statistic)


@pytest.mark.parametrize("L", [1, 3])
def test_what_columns_share_does_not_count(L: int) -> None:
    x = _scores(4, L)
    draw = np.random.default_rng(9)
    shared = x + draw.normal(size=len(FOLD)) + draw.normal(size=(1, L, 1)) + draw.normal(size=(4, 1, 1))
    plain, shifted = _estimate(x), _estimate(shared)
    np.testing.assert_allclose(shifted.variance, plain.variance, rtol=1e-9)
    np.testing.assert_allclose(shifted.training, plain.training, rtol=1e-9)


def test_another_baseline_is_another_contrast() -> None:
    x = _scores(4, 2)
    s = FoldStatistics.of_patients(x, FOLD)
    pairs = np.array([[-1, 1, 0, 0], [0, 0, -1, 1]])
    mixed, reversed_columns = estimate(s, pairs), estimate(FoldStatistics.of_patients(x[[2, 3, 0, 1]], FOLD), pairs)
    np.testing.assert_allclose(mixed.variance, reversed_columns.variance[::-1])
    d = x.mean(axis=1)[[1, 3]] - x.mean(axis=1)[[0, 2]]
    within = d - np.array([d[:, f == FOLD].mean(axis=1) for f in range(5)])[FOLD].T
    covariance = within[0] @ within[1] / (len(FOLD) - 5) * (1 / np.bincount(FOLD)).sum() / 25
    assert mixed.case_covariance[0, 1] == pytest.approx(covariance)


def test_variances_average_to_what_was_drawn() -> None:
    """500 tables: training SD .02 a run, .05 recipe × patient, .05 run × patient, in folds of 30."""
    fold = np.repeat(np.arange(5), 30)
    drawn = [_estimate(_scores(6, 3, seed, fold), fold) for seed in range(500)]
    of_patients = 2 * (0.05**2 + 0.05**2 / 3) / 150
    assert np.mean([v.case_covariance[0, 0] for v in drawn]) == pytest.approx(of_patients, rel=0.02)
    # The larger one of two mean squares is used: .7 · E(MS - V)+ = .1 of the total, a fifth of the training part.
    assert 1.05 < np.mean([v.training.mean() for v in drawn]) / (0.02**2 / 3) < 1.25
    differences = np.array([v.differences for v in drawn])
    assert differences.var() == pytest.approx(of_patients + 2 * 0.02**2 / 3 / 5, rel=0.08)
    fixed, per_run = np.mean([v.by_runs() for v in drawn], axis=(0, 2))
    excess = np.mean([v.training_variance for v in drawn]) - 2 * 0.02**2 / 3 / 5
    assert fixed == pytest.approx(2 * 0.05**2 / 150 + excess, rel=0.1)
    assert per_run == pytest.approx(2 * (0.05**2 / 150 + 0.02**2 / 5), rel=0.1)
    np.testing.assert_allclose([sum(v.by_runs()) - v.by_runs()[1] * 2 / 3 for v in drawn], [v.variance for v in drawn])


def test_a_noisier_column_has_the_larger_share() -> None:
    fold = np.repeat(np.arange(5), 30)
    x = _scores(4, 3, fold=fold)
    x[2] += 0.2 * np.random.default_rng(1).normal(size=(3, 5))[:, fold]
    v = _estimate(x, fold)
    assert v.training[2] > 3 * max(v.training[[0, 1, 3]])
    assert v.variance[1] == max(v.variance)


@pytest.mark.slow
def test_a_noisier_baseline_of_single_runs_has_its_own_variance() -> None:
    """1,000 tables of 6 columns in which the baseline's variance over folds is 9 times the others'."""
    draw = np.random.default_rng(0)
    means = draw.normal(size=(1000, 6, 5)) * np.array([3, 1, 1, 1, 1, 1])[:, None]
    estimates = [estimate(FoldStatistics.of_folds(m), _against_first(6)).training for m in means]
    baseline, others = np.mean(estimates, axis=0)[[0, 1]]
    assert others == pytest.approx((9 + 5) / 6, rel=0.05)
    assert baseline == pytest.approx(9, rel=0.05)


def test_the_other_cohort_has_nadeau_and_bengios_factor() -> None:
    v = _estimate(_scores(3, 2))
    training = (v.training[1:] + v.training[0]) * (1 / 5 + 1 / 4)
    np.testing.assert_allclose(v.other_cohort(5), np.diag(v.case_covariance) + training)


def test_published_folds_have_no_part_of_the_patients() -> None:
    means = np.random.default_rng(0).normal(size=(3, 5))
    v = estimate(FoldStatistics.of_folds(means), _against_first(3))
    interaction = _mean_square(means)
    residuals = means - means.mean(axis=1, keepdims=True) - means.mean(axis=0) + means.mean()
    own = 3 * ((residuals[0] ** 2).sum() / 4 - interaction / 3)  # k / (k - 2) = 3
    over_folds = (means[1:] - means[0]).var(axis=1, ddof=1)
    np.testing.assert_allclose(v.variance, (8 * (interaction + max(own, interaction)) + 4 * over_folds) / 12 / 5)


def test_noise_is_students_t_where_patients_add_nothing() -> None:
    assert training_noise(0.04, 0.0, 7) == pytest.approx(0.2 * stats.t.ppf(0.975, 7), rel=0.02)
    assert training_noise(0.0, 0.0, 7) == 0.0


def test_noise_is_exceeded_in_5_percent_of_draws() -> None:
    draw = np.random.default_rng(0)
    totals = (0.02**2 + 0.03**2) * draw.chisquare(60, 500) / 60
    floors = np.array([training_noise(float(total), 0.03**2, 60) for total in totals])
    exceeded = np.abs(draw.normal(0, 0.02, size=(400, 500))) > floors
    assert exceeded.mean() == pytest.approx(0.05, abs=0.012)


@pytest.mark.parametrize("degrees", [1, 4])
def test_noise_is_that_of_the_posterior_where_folds_vary_far_less_than_patients(degrees: int) -> None:
    total, of_cases = 1e-8, 1e-5
    draw = np.random.default_rng(0)
    largest = stats.chi2.cdf(degrees * total / of_cases, degrees)
    w = degrees * total / stats.chi2.ppf(largest * draw.random(400_000), degrees)
    expected = np.quantile(np.abs(draw.normal(size=len(w))) * np.sqrt(w - of_cases), 0.95)
    assert training_noise(total, of_cases, degrees) == pytest.approx(expected, rel=0.03)


def test_one_patient_in_every_fold_is_refused() -> None:
    with pytest.raises(ValueError, match="only one patient"):
        FoldStatistics.of_patients(np.zeros((2, 1, 5)), np.arange(5))


def test_a_fold_of_one_patient_is_no_obstacle() -> None:
    fold = np.array([0, 1, 1, 1, 2, 2, 2, 2])
    v, expected = _estimate(_scores(3, 2, fold=fold), fold), _in_loops(_scores(3, 2, fold=fold), fold)
    np.testing.assert_allclose(v.variance, expected.variance)
