"""Oracles: Student's t for one column, Šidák's correction for independent ones, and scipy's noncentral t."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from brats_ablate.tables import maxt

DRAWS = 100_000


def test_one_column_is_students_t() -> None:
    one = maxt.step_down(np.array([2.3]), np.array([[0.7]]), 9.0, draws=10, seed=0, families=2)
    assert one.p_adjusted[0] == pytest.approx(4 * stats.t.sf(2.3, 9), rel=1e-9)
    assert one.critical == pytest.approx(stats.t.ppf(1 - 0.05 / 4, 9), rel=1e-9)
    last = maxt.step_down(np.array([2.3, 2.9]), np.eye(2), 9.0, draws=DRAWS, seed=0)
    assert last.p_adjusted[0] == pytest.approx(2 * stats.t.sf(2.3, 9), rel=1e-9)


def test_independent_columns_are_corrected_step_by_step_as_by_sidak() -> None:
    t = np.array([2.0, 3.0, 2.5])
    result = maxt.step_down(t, np.diag([1.0, 4.0, 9.0]), 1e6, draws=DRAWS, seed=0)
    single = 2 * stats.norm.sf(t)
    expected = [1 - (1 - single[0]), 1 - (1 - single[1]) ** 3, 1 - (1 - single[2]) ** 2]
    assert result.p_adjusted == pytest.approx(expected, abs=0.003)
    assert result.critical == pytest.approx(stats.norm.isf((1 - 0.95 ** (1 / 3)) / 2), rel=0.01)


def test_a_common_factor_scales_all_columns_of_a_draw() -> None:
    """Independent z over one chi-square: integrate Šidák's formula over it."""
    result = maxt.step_down(np.array([3.0, 1.0]), np.eye(2), 5.0, draws=DRAWS, seed=0)
    scale = np.sqrt(stats.chi2.ppf((np.arange(20_000) + 0.5) / 20_000, 5) / 5)
    assert result.p_adjusted[0] == pytest.approx(np.mean(1 - (1 - 2 * stats.norm.sf(3 * scale)) ** 2), abs=0.002)


def test_equal_columns_need_no_correction() -> None:
    result = maxt.step_down(np.array([2.3, 2.3]), np.ones((2, 2)), 9.0, draws=DRAWS, seed=0)
    assert result.p_adjusted == pytest.approx([2 * stats.t.sf(2.3, 9)] * 2, abs=0.003)


def test_adjusted_p_are_in_the_order_of_t_and_never_zero() -> None:
    draw = np.random.default_rng(0)
    for seed in range(20):
        t = np.abs(draw.normal(size=6)) * 3
        root = draw.normal(size=(6, 6))
        p = maxt.step_down(t, root @ root.T, 12.0, draws=999, seed=seed).p_adjusted
        assert (np.diff(p[np.argsort(-t)]) >= 0).all()
        assert p.min() >= 1 / 1000


def test_families_multiply() -> None:
    one, three = (
        maxt.step_down(np.array([2.5, 1.0]), np.eye(2), 20.0, draws=20_000, seed=0, families=n) for n in (1, 3)
    )
    assert three.p_adjusted == pytest.approx(np.minimum(1, 3 * one.p_adjusted))
    # The stated critical value is the one at which the multiplied p is .05.
    at = maxt.step_down(np.array([three.critical, 0.0]), np.eye(2), 20.0, draws=20_000, seed=0, families=3)
    assert at.p_adjusted[0] == pytest.approx(0.05, abs=0.001)


def test_power_is_that_of_the_noncentral_t() -> None:
    for difference in (0.0, 0.5, 2.0):
        expected = stats.nct.sf(2.6, 15, difference / 0.5) if difference else stats.t.sf(2.6, 15)
        assert maxt.power(difference, 0.25, 15, 2.6) == pytest.approx(expected, abs=1e-6)
        assert maxt.power(-difference, 0.25, 15, 2.6) == pytest.approx(expected, abs=1e-6)


def test_the_detectable_effect_has_80_percent_power() -> None:
    effect = maxt.minimum_detectable_effect(0.25, 15, 2.6)
    assert maxt.power(effect, 0.25, 15, 2.6) == pytest.approx(0.8, abs=1e-4)
