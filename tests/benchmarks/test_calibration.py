"""The simulation reads tables as `job=tables` does, and the verdicts have their stated error rates (reduced)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from schemes import BRATS2021
from scipy.stats import binom

from brats_ablate.runs.directory import Coordinates, RunDirectory, RunRecord
from brats_ablate.runs.state import RunState
from brats_ablate.tables.build import ResultsStore, build
from brats_ablate.tables.comparison import compare
from brats_ablate.tables.scores import load_runs
from brats_ablate.tables.spec import Column, TableSpec
from calibration import BASE, GENERATORS, NOISY, ONE_RUN, SETTINGS, Rates, as_runs, pairs, simulate
from generators import FOLDS, Drawn, Scenario

NAMES = ("baseline", "b", "c")
RATES = (0.0, 1.0)  # as the simulation names its runs
VALIDATED = range(91, 101)
TABLES = 150
"""Of each scenario; benchmarks/calibration.py simulates more."""


def _write(drawn: Drawn, scenario: Scenario, runs: Path) -> None:
    """Write what training writes; ten epochs before the tested ones have scores of their own."""
    epochs = drawn.dice.shape[2]
    for c, name in enumerate(NAMES):
        for lr in range(scenario.runs_of(c)):
            for fold in range(FOLDS):
                run = RunDirectory.at(runs, Coordinates(name, fold, RATES[lr], 0))
                run.path.mkdir(parents=True)
                members = np.flatnonzero(drawn.fold == fold)
                for epoch in (*range(81, 91), *VALIDATED):
                    dice = (
                        drawn.dice[c, lr, (epoch - 91) % epochs, members]
                        if epoch > 90
                        else np.full((len(members), 3), 0.5)
                    )
                    rows = [
                        {
                            "epoch": epoch,
                            "case": f"s{i:04d}",
                            **dict(zip(BRATS2021.regions, map(float, d), strict=True)),
                        }
                        for i, d in zip(members, dice, strict=True)
                    ]
                    run.append("cases.jsonl", rows)
                    run.append("metrics.jsonl", [{"epoch": epoch, "step": epoch, "dice": float(dice.mean())}])
                run.write_manifest({})
                run.write_status(RunRecord(RunState.FINISHED, 100, 100, 0.9))


@pytest.mark.parametrize("generator", GENERATORS)
@pytest.mark.parametrize("runs", [(2,), (2, 2, 1)])
def test_run_directories_have_the_same_verdicts_as_the_arrays(
    tmp_path: Path, generator: str, runs: tuple[int, ...]
) -> None:
    scenario = Scenario("", columns=3, runs=runs, cases=60, scans=2, gain=0.01)
    drawn = GENERATORS[generator](scenario, np.random.default_rng(1))
    _write(drawn, scenario, tmp_path)
    patients = {f"s{i:04d}": f"p{patient:05d}" for i, patient in enumerate(drawn.patient)}
    spec = TableSpec("t", "T", None, NAMES[0], tuple(Column(name, name, None, None) for name in NAMES))
    store = ResultsStore(load_runs(tmp_path, NAMES), tmp_path / "evaluation", {}, BRATS2021, patients.__getitem__)
    (read,) = build([spec], store, folds=FOLDS, resamples=SETTINGS.draws, seed=SETTINGS.seed)
    simulated = compare(pairs(scenario), as_runs(drawn, scenario), SETTINGS)
    for a, b in zip(read.comparisons, simulated, strict=True):
        assert (a.verdict, a.cases, a.runs) == (b.verdict, b.cases, b.runs)
        assert a.cases < len(drawn.patient)
        assert (a.difference, a.p_adjusted, a.variance) == pytest.approx((b.difference, b.p_adjusted, b.variance))


def _simulate(generator: str, scenario: Scenario) -> Rates:
    return simulate(GENERATORS[generator], scenario, TABLES, seed=2024)


@pytest.mark.slow(minutes=2)
@pytest.mark.parametrize("generator", GENERATORS)
@pytest.mark.parametrize(
    "scenario",
    [
        BASE,
        replace(BASE, title="noisier epochs", epochs=NOISY),
        replace(BASE, title="unequal learning rates", runs=(3, 3, 3, 1)),
        replace(BASE, title="two columns", columns=2),
        replace(BASE, title="several scans", scans=6),
        ONE_RUN,
        replace(ONE_RUN, title="one run, noisier training", training=(3,)),
    ],
    ids=lambda scenario: f"{scenario.title}, {max(scenario.runs)} runs",
)
def test_false_verdicts_and_coverage_are_as_stated(generator: str, scenario: Scenario) -> None:
    rates = _simulate(generator, scenario)
    # A rate of 5 % has more false verdicts than this in one of 1,000 simulations.
    assert rates.false * TABLES <= binom.ppf(0.999, TABLES, 0.05)
    # The intervals of a table are correlated: bounded as if a table were one interval.
    assert rates.covered * TABLES >= binom.ppf(0.001, TABLES, 0.95)


@pytest.mark.slow(minutes=1)
@pytest.mark.parametrize(("generator", "at_least"), [("A", 0.85), ("B", 0.65)])
def test_power_is_as_stated(generator: str, at_least: float) -> None:
    rates = _simulate(generator, replace(BASE, gain=0.001))
    assert rates.detected * TABLES >= binom.ppf(0.001, TABLES, at_least)
    assert abs(rates.stated - rates.detected) < 0.05 + 3 * (0.25 / TABLES) ** 0.5
    (strong, single) = (_simulate(generator, replace(base, gain=0.0019)) for base in (BASE, ONE_RUN))
    assert strong.detected * TABLES >= binom.ppf(0.001, TABLES, 0.98)
    assert single.detected * TABLES >= binom.ppf(0.001, TABLES, 0.84)
