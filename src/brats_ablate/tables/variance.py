"""Variance of a difference between two recipes, from patients, folds and repeated training runs. Pure arrays.

A column's score varies over the patients that it is validated on and over the training runs of its networks. The
patients' part is measured within folds. The training part is what folds and repeated runs vary by beyond the patients'
part. `docs/statistics.md` has the formulas, their sources and their calibration.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from brats_ablate.tables.statistics import LEVEL

PRIOR_DEGREES = 8
"""Degrees of freedom of the prior by which the columns' training variances are shrunk to their mean (Smyth, 2004)."""
_POINTS = 200
"""Quantiles by which a distribution is represented."""
_LEAST_SHARE = 0.05
"""Least training variance of a run, as a share of its patients' part."""


@dataclass(frozen=True)
class FoldStatistics:
    """Fold means and variances within folds of k columns, each trained L times in each of J folds."""

    means: np.ndarray
    """(k, L, J) mean over the patients of a fold."""
    between_columns: np.ndarray
    """(k, k) covariance over patients, within folds, of the columns' means over the L runs."""
    between_runs: np.ndarray
    """(k,) variance over patients, within folds, of a run's deviation from its column and its patient."""
    inverse_patients: float
    """Mean over folds of 1 / patients; a variance within folds times this is that of a fold mean."""

    @classmethod
    def of_patients(cls, x: np.ndarray, fold: np.ndarray) -> FoldStatistics:
        """Summarize scores.

        Args:
            x: (k, L, n) score of each column's run on each patient.
            fold: (n,) number of each patient's fold, from 0 on.

        Raises:
            ValueError: every fold has only one patient, so that nothing varies within folds.
        """
        k, L, n = x.shape
        count = np.bincount(fold)
        J = len(count)
        if n == J:
            raise ValueError("every fold has only one patient")
        means = (x.reshape(k * L, n) @ (np.eye(J)[fold] / count)).reshape(k, L, J)
        centered = x - means[:, :, fold]
        y = centered.mean(axis=1)
        total = (centered**2).sum(axis=(1, 2)) - L * (y**2).sum(axis=1)
        between_runs = total / ((n - J) * (L - 1)) if L > 1 else np.zeros(k)
        return cls(means, y @ y.T / (n - J), between_runs, float((1 / count).mean()))

    @classmethod
    def of_folds(cls, means: np.ndarray) -> FoldStatistics:
        """Summarize published fold means, (k, J), whose variance over folds includes the patients' part."""
        k = len(means)
        return cls(means[:, None, :], np.zeros((k, k)), np.zeros(k), 0.0)


def without_copies(x: np.ndarray, contrasts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return scores and contrasts with columns of equal scores as one column.

    A configuration that was trained under two names shows no variance between the two: counted twice, it would make
    that of the others look smaller.

    Args:
        x: (k, L, n) as of `FoldStatistics.of_patients`.
        contrasts: (m, k) weight of each column.
    """
    first = np.array([next(j for j in range(i + 1) if np.array_equal(x[j], x[i])) for i in range(len(x))])
    kept = np.unique(first)
    if len(kept) == 1:
        return x, contrasts
    return x[kept], np.stack([contrasts[:, first == column].sum(axis=1) for column in kept], axis=1)


@dataclass(frozen=True)
class Variances:
    """m differences between columns, and the parts of their variances."""

    statistics: FoldStatistics
    contrasts: np.ndarray
    """(m, k) weight of each column: 1 for a column and -1 for its baseline; fractions for means of columns."""
    case_covariance: np.ndarray
    """(m, m) covariance of the differences over samples of patients."""
    training: np.ndarray
    """(k,) variance of a column's fold mean over training, for its mean over L runs."""
    run_training: np.ndarray
    """(k,) the same for one run, without what the L runs of a fold share; all zero if L is 1."""
    variance: np.ndarray
    """(m,) of the differences."""
    degrees: float
    """Degrees of freedom of `variance`."""
    noise: float
    """|deviation| of a column's fold mean that training alone exceeds in 5 % of repetitions, for the mean column."""
    share: np.ndarray
    """(k,) a column's training variance as a share of the mean column's; 1 with one run per fold."""

    @property
    def runs(self) -> int:
        return int(self.statistics.means.shape[1])

    @property
    def folds(self) -> int:
        return int(self.statistics.means.shape[2])

    @cached_property
    def differences(self) -> np.ndarray:
        """(m,) mean over folds of column minus baseline."""
        differences: np.ndarray = self.contrasts @ self.statistics.means.mean(axis=(1, 2))
        return differences

    @cached_property
    def run_differences(self) -> np.ndarray:
        """(m, L) differences of the single runs."""
        differences: np.ndarray = self.contrasts @ self.statistics.means.mean(axis=2)
        return differences

    @cached_property
    def training_variance(self) -> np.ndarray:
        """(m,) part of the differences' variance that comes from training."""
        variance: np.ndarray = self.contrasts**2 @ self.training / self.folds
        return variance

    @cached_property
    def noise_floor(self) -> np.ndarray:
        """(m,) |difference| that training alone exceeds in 5 % of repetitions where two recipes are equal."""
        floor: np.ndarray = self.noise * np.sqrt(self.contrasts**2 @ self.share / self.folds)
        return floor

    @cached_property
    def covariance(self) -> np.ndarray:
        """(m, m) estimated covariance of the differences."""
        covariance: np.ndarray = self.case_covariance + (self.contrasts * self.training) @ self.contrasts.T / self.folds
        return covariance

    def other_cohort(self, all_folds: int) -> np.ndarray:
        """Return the (m,) variances with Nadeau and Bengio's (2003) correction of the training part.

        The folds share most of their training cases, so that 1/J is too small where the effect of the training set
        counts: 1/J + test cases / training cases.
        """
        return self.variance + self.training_variance * self.folds / (all_folds - 1)

    def by_runs(self) -> tuple[np.ndarray, np.ndarray]:
        """Split the variances, (m,) each: with r runs per fold and column they would be the first + the second / r.

        The first is what a fold's runs share. L must be at least 2.
        """
        s, L, J = self.statistics, self.runs, self.folds
        of_cases = self.contrasts**2 @ (s.between_runs * s.inverse_patients) / J
        of_training = self.contrasts**2 @ np.minimum(self.run_training, L * self.training) / J
        of_runs = np.minimum(of_cases, L * np.diag(self.case_covariance)) + of_training
        return self.variance - of_runs / L, of_runs


def estimate(s: FoldStatistics, contrasts: np.ndarray) -> Variances:
    """Estimate the variances of differences with the weights `contrasts`, (m, k)."""
    k, L, J = s.means.shape
    case_covariance = contrasts @ s.between_columns @ contrasts.T * (s.inverse_patients / J)
    fold_means = s.means.mean(axis=1)
    degrees = (k - 1) * (J - 1)
    interaction = (_residuals(fold_means) ** 2).sum() / degrees
    mean_variance = np.trace(s.between_columns) - s.between_columns.sum() / k
    of_cases = mean_variance / (k - 1) * s.inverse_patients
    if L == 1:
        noise = training_noise(interaction, of_cases, degrees)
        return _of_single_runs(s, contrasts, case_covariance, max(interaction - of_cases, 0.0), degrees, noise)
    d = (L - 1) * (J - 1)
    of_runs = (_residuals(s.means) ** 2).sum(axis=(1, 2)) / d
    of_run_cases = s.between_runs * s.inverse_patients
    independent = of_cases + max(float((of_runs - of_run_cases).mean()), 0.0) / L
    pooled = (degrees * interaction + k * d * independent) / (degrees + k * d)
    total, total_degrees = (pooled, degrees + k * d) if pooled > interaction else (interaction, degrees)
    shrunk = (PRIOR_DEGREES * of_runs.mean() + d * of_runs) / (PRIOR_DEGREES + d)
    of_run = np.maximum(shrunk - of_run_cases, _LEAST_SHARE * of_run_cases)
    own = np.where(_is_common(contrasts), of_runs - of_run_cases, 0)
    share = np.maximum(of_run, own) / of_run.mean() if of_run.mean() > 0 else np.ones(k)
    training = max(total - of_cases, 0.0) * share
    variance = np.diag(case_covariance) + contrasts**2 @ training / J
    noise = training_noise(total, of_cases, total_degrees)
    joint_degrees = degrees_of_freedom(k, L, J)
    return Variances(s, contrasts, case_covariance, training, of_run, variance, joint_degrees, noise, share)


def degrees_of_freedom(columns: int, runs: int, folds: int) -> float:
    """Return the degrees of freedom of a difference's variance, of a table with `runs` per fold and column."""
    of_folds = (columns - 1) * (folds - 1)
    if runs == 1:
        return _prior_degrees(columns, of_folds) + folds - 1
    return of_folds + min(columns * (runs - 1) * (folds - 1) / 2, of_folds)


def training_noise(total: float, of_cases: float, degrees: float) -> float:
    """Return |z|·τ that is exceeded in 5 % of repetitions, where τ² is `total` beyond `of_cases`.

    `total` is a mean square with `degrees` degrees of freedom. The difference of two variances can be estimated as zero
    although it is not; averaging over what it may be (Tiao and Tan, 1965) takes that into account.
    """
    from scipy.special import chdtr, gammaincinv, ndtr

    if total <= 0:
        return 0.0
    most = chdtr(degrees, degrees * total / of_cases) if of_cases > 0 else 1.0
    middle = (np.arange(_POINTS) + 0.5) / _POINTS * most
    sd = np.sqrt(np.maximum(degrees * total / (2 * gammaincinv(degrees / 2, middle)) - of_cases, 0))
    low, high = 0.0, 100 * float(np.sqrt(max(total, of_cases)))
    for _ in range(50):
        x = (low + high) / 2
        exceeded = float(2 * ndtr(-x / np.maximum(sd, 1e-300)).mean())
        low, high = (x, high) if exceeded > 1 - LEVEL else (low, x)
    return high


def _of_single_runs(
    s: FoldStatistics, contrasts: np.ndarray, case_covariance: np.ndarray, training: float, degrees: int, noise: float
) -> Variances:
    """Estimate with one run per fold: each pair's variance over folds, shrunk to what all columns have in common.

    With two columns there is nothing to shrink to: both would be the same variance.
    """
    k, _, J = s.means.shape
    of_cases = J * np.diag(case_covariance)
    prior = _prior_degrees(k, degrees)
    of_column = training + np.where(_is_common(contrasts), _excess(s.means[:, 0, :]), 0)
    over_folds = (contrasts @ s.means[:, 0, :]).var(axis=1, ddof=1)
    pooled = (prior * (of_cases + contrasts**2 @ of_column) + (J - 1) * over_folds) / (prior + J - 1)
    variance = np.maximum(pooled, of_cases) / J
    none, equal, freedom = np.zeros(k), np.ones(k), degrees_of_freedom(k, 1, J)
    return Variances(s, contrasts, case_covariance, of_column, none, variance, freedom, noise, equal)


def _prior_degrees(columns: int, degrees: int) -> int:
    return 0 if columns == 2 else min(PRIOR_DEGREES, degrees)


def _is_common(contrasts: np.ndarray) -> np.ndarray:
    """Return (k,) whether a column is, with its full weight and one sign, in several contrasts, as a baseline is.

    An error in its variance affects all of them. It is therefore never shrunk below its own estimate.
    """
    contrasts = np.unique(contrasts, axis=0)  # of copies of a column
    is_common: np.ndarray = np.maximum((contrasts <= -1).sum(axis=0), (contrasts >= 1).sum(axis=0)) > 1
    return is_common


def _excess(fold_means: np.ndarray) -> np.ndarray:
    """Return (k,) by how much a column's variance over folds exceeds the columns' mean, at least 0; k > 2.

    The mean square of a column's residuals is expected to be (1 - 2/k) of its variance and 1/k of the mean one.
    """
    k, J = fold_means.shape
    of_residuals = (_residuals(fold_means) ** 2).sum(axis=1) / (J - 1)
    mean = of_residuals.sum() / (k - 1)
    excess: np.ndarray = np.maximum((of_residuals - mean / k) * k / max(k - 2, 1) - mean, 0)
    return excess


def _residuals(values: np.ndarray) -> np.ndarray:
    """Return what row and column means leave of (..., rows, columns)."""
    rows, columns = values.mean(axis=-1, keepdims=True), values.mean(axis=-2, keepdims=True)
    residuals: np.ndarray = values - rows - columns + values.mean(axis=(-2, -1), keepdims=True)
    return residuals
