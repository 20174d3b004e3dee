"""The comparison of designs: its t-test by hand, its prices, and the variance that `job=plan` assumes."""

from __future__ import annotations

import numpy as np
import pytest

import cost
from brats_ablate.tables.designs import VarianceParts
from brats_ablate.tables.variance import FoldStatistics, estimate
from calibration import BASE
from generators import FOLDS, Drawn, components


def test_the_papers_figure_is_the_best_epoch_at_the_best_rate_of_each_fold() -> None:
    """Column 1 has its best epoch 0.01, 0.02, … above the baseline's, whichever epoch and rate that is."""
    dice = np.full((3, 3, 10, 5, 3), 0.5)
    for fold in range(FOLDS):
        dice[1, fold % 3, fold, fold] = 0.51 + fold / 100
        dice[2, 0, 0, fold] = 0.5 + (-1) ** fold / 100  # best at 0.51 or at 0.5: two folds equal the baseline
    drawn = Drawn(dice, np.arange(5), np.arange(5), np.zeros(3), np.zeros((3, 3)))
    # t = .03 / sqrt(.00025 / 5) = 4.24 of 4 degrees, p = .013: also significant times two.
    # Column 2: 0.01 in three of five folds, t = 2.45, p = .070.
    assert cost.best_of_all(drawn, adjusted=False) == [1, 0]
    assert cost.best_of_all(drawn, adjusted=True) == [1, 0]


def test_prices_by_hand() -> None:
    """Half of an epoch is validation: a third of the runs, and 90 / 3.09 + 100 of 1,000 validations."""
    assert [name for name, _ in cost.study()][:3] == ["baseline", "unetr", "segresnet_vae"]
    assert len(cost.study()) == 12
    first = list(cost.priced())[4]
    share = (90 / 3.09 + 100) / 1000
    time = cost.epoch_times()[0]
    ratio = 3 * (time.training + time.validation) / (time.training + share * time.validation)
    assert first.endswith(f"**1/{ratio:.1f}** |")


def test_the_assumed_variance_is_that_of_generator_b() -> None:
    draw = np.random.default_rng(1)
    pairs = np.hstack([-np.ones((5, 1)), np.eye(5)])
    fixed, per_run = [], []
    for _ in range(40):
        drawn = components(BASE, draw)
        x = drawn.dice.mean(axis=(2, 4), dtype=np.float64)
        parts = estimate(FoldStatistics.of_patients(x, drawn.fold), pairs).by_runs()
        fixed.append(parts[0].mean() * FOLDS)
        per_run.append(parts[1].mean() * FOLDS)
    assumed = VarianceParts.assumed(BASE.cases / FOLDS)
    # Of 40 tables the standard error of the sum is 4 %, that of the part which runs share 10 %.
    assert assumed.fixed + assumed.per_run == pytest.approx(np.mean(fixed) + np.mean(per_run), rel=0.1)
    assert assumed.fixed == pytest.approx(np.mean(fixed), rel=0.25)
