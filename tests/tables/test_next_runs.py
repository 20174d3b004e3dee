from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from schemes import REGIONS
from table_results import result_of, write_values

from brats_ablate.config.locations import resource_dir
from brats_ablate.tables.build import TableResult
from brats_ablate.tables.comparison import UNDECIDED
from brats_ablate.tables.next_runs import NextRuns, next_runs
from brats_ablate.tables.spec import load_table_spec

Write = Callable[..., Any]
DEMO = load_table_spec(Path(__file__).parents[1] / "fixtures" / "experiments" / "demo.yaml")
SCORED = tuple[TableResult, NextRuns]


def _plan(tmp_path: Path, write_run: Write, keys: list[tuple[float, int]], difference: float) -> SCORED:
    draw = np.random.default_rng(0)
    for name in ("baseline", "ds"):
        for fold in range(5):
            base = np.random.default_rng(fold).uniform(0.6, 0.9, 20)
            for lr, seed in keys:
                dice = base + draw.normal(0, 0.02, 20) + draw.normal(0, 0.01)
                cases = {f"c{fold}{i}": (d,) * 3 for i, d in enumerate(dice.tolist())}
                write_run(tmp_path, name, fold, [0.7], lr=lr, seed=seed, cases=cases)
    result = result_of(tmp_path, DEMO, resamples=2000, rope=0.0)
    return result, next_runs(result, difference)


def test_the_grid_has_the_runs_that_the_difference_needs(tmp_path: Path, write_run: Write) -> None:
    result, planned = _plan(tmp_path, write_run, [(5e-4, 1), (7e-4, 1)], 0.015)
    needed = result.comparisons[0].runs_for(0.015)
    assert planned.rates == (5e-4, 7e-4)
    assert needed > 2
    assert planned.seeds == tuple(range(-(-needed // 2)))
    assert (planned.experiments, planned.folds) == (("baseline", "ds"), (0, 1, 2, 3, 4))
    assert planned.missing == 2 * 5 * 2 * (len(planned.seeds) - 1)
    assert planned.device_hours == pytest.approx(planned.missing * 30 / 3600)  # 30 s each
    assert planned.summary.frame()["needed"].tolist() == [needed]


def test_one_run_per_fold_needs_a_second_seed_first(tmp_path: Path, write_run: Write) -> None:
    _, planned = _plan(tmp_path, write_run, [(7e-4, 0)], 0.001)
    assert (planned.seeds, planned.missing) == ((0, 1), 10)
    assert "train a second seed first" in planned.summary.texts[0][-1]


def test_a_difference_that_no_number_of_runs_detects_plans_nothing(tmp_path: Path, write_run: Write) -> None:
    _, planned = _plan(tmp_path, write_run, [(5e-4, 0), (7e-4, 0)], 1e-7)
    assert (planned.experiments, planned.missing) == ((), 0)
    assert planned.summary.texts[0][-1].startswith("even 1,000 runs per fold detect only 0.")


def test_enough_runs_plan_nothing_more(tmp_path: Path, write_run: Write) -> None:
    _, planned = _plan(tmp_path, write_run, [(5e-4, 0), (7e-4, 0)], 0.1)
    assert planned.missing == 0
    assert planned.summary.texts[0][-1] == "has enough runs"


def test_predictions_are_not_decided_by_further_runs(tmp_path: Path) -> None:
    spec = load_table_spec(resource_dir("experiments") / "table4.yaml")
    drawn = np.random.default_rng(0).uniform(size=(2, 10, 3))
    for column, dice in zip(spec.columns, drawn, strict=True):
        rows = [f"c{i},{region},dice,{dice[i, k]}" for i in range(10) for k, region in enumerate(REGIONS)]
        write_values(tmp_path / "evaluation" / f"{column.evaluation}.csv", rows)
    result = result_of(tmp_path, spec, fold_of={f"c{i}": i % 5 for i in range(10)})
    assert result.comparisons[0].verdict == UNDECIDED
    planned = next_runs(result, 0.001)
    assert (planned.experiments, planned.missing) == ((), 0)
    assert planned.summary.texts[0][-1] == "compares predictions, which further runs leave as they are"
