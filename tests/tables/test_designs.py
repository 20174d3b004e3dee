"""The table of designs: its arithmetic by hand, and its power by the test of real tables."""

from __future__ import annotations

import numpy as np
import pytest

from brats_ablate.tables.designs import EpochSeconds, VarianceParts, designs_table
from brats_ablate.tables.difference import Settings, estimate_differences, pair_contrasts
from brats_ablate.tables.table import Number
from brats_ablate.tables.variance import FoldStatistics


def test_the_detectable_difference_is_that_of_a_table_with_this_variance() -> None:
    """Of a table whose columns vary by run only, each estimate is compared with the design's own prediction."""
    draw, k, L, J, n = np.random.default_rng(0), 6, 2, 5, 2000
    fold = np.arange(n) % J
    x = draw.normal(0, 0.01, (k, L, n)) + draw.normal(0, 0.001, (k, L, J))[:, :, fold]
    pairs = np.array([[c, 0] for c in range(1, k)])
    statistics, settings = FoldStatistics.of_patients(x, fold), Settings(J, draws=4000)
    of_table = estimate_differences(statistics, pair_contrasts(pairs, k), settings)
    variance = float(np.mean([d.variance for d in of_table]))
    predicted = VarianceParts(0.0, J * L * variance).detectable(k, L, J)
    assert predicted == pytest.approx(np.mean([d.minimum_detectable_effect for d in of_table]), rel=0.06)


@pytest.mark.parametrize(("runs", "folds"), [(2, 5), (1, 3)])
def test_more_runs_and_folds_detect_less(runs: int, folds: int) -> None:
    parts = VarianceParts.assumed(250)
    assert parts.detectable(6, runs + 1, folds) < parts.detectable(6, runs, folds)
    assert parts.detectable(6, runs, folds + 1) < parts.detectable(6, runs, folds)


def test_hours_by_hand() -> None:
    seconds = EpochSeconds("CPU-hours", training=36.0, interim=9.0, final=18.0)
    table = designs_table(
        VarianceParts.assumed(250), seconds,
        columns=3, experiments=4, folds=[5], epochs=100, validations={"all": (0, 100), "few": (9, 10)},
        detect=0.0025, notes=[],
    )  # fmt: skip
    runs, folds, trained, every, few, least, _ = table.rows[1]
    assert [cell.value for cell in (runs, folds, trained) if isinstance(cell, Number)] == [2, 5, 40]
    assert every.value == pytest.approx(40 * 100 * (36 + 18) / 3600)
    assert few.value == pytest.approx(40 * (100 * 36 + 9 * 9 + 10 * 18) / 3600)
    assert least.value < 0.0025
    assert table.notes[-1].startswith("Cheapest that detects 0.0025: 1 run per fold, 5 folds, validation=few: 21.4")
    assert table.notes[-1].endswith(" CPU-hours.")
    assert list(table.header_texts)[3:5] == ["CPU-hours, all", "CPU-hours, few"]
