"""The simulation of designs runs, its verdicts have the stated error rates, and its report has those of its draws."""

from __future__ import annotations

import pytest
from scipy.stats import binom

import effects as simulation
from generators import Scenario

TABLES = 20
"""benchmarks/effects.py simulates more."""


@pytest.mark.parametrize("gain", [0.0, 0.02])
def test_few_verdicts_are_false_and_most_intervals_cover_the_truth(gain: float) -> None:
    scenario = Scenario("reduced", columns=8, cases=60, gain=gain)
    false, covered = simulation.simulate(simulation.GENERATORS["A"], scenario, TABLES, seed=0)
    assert false * TABLES <= binom.ppf(0.999, TABLES, 0.05)
    assert covered * TABLES >= binom.ppf(0.001, TABLES, 0.95)


def test_each_line_of_the_report_has_the_rates_of_its_own_draws() -> None:
    scenarios = [Scenario(title, columns=8, cases=60, gain=0.001) for title in ("first", "second")]
    text = simulation.report(2, scenarios)
    for seed, (i, name) in enumerate((i, name) for i in range(2) for name in ("A", "B")):
        false, covered = simulation.simulate(simulation.GENERATORS[name], scenarios[i], tables=2, seed=seed)
        line = f"| {scenarios[i].title} | 3 | {name} | **{100 * false:.1f} % ("
        assert f"| {100 * covered:.1f} % |" in text.split(line)[1].splitlines()[0]
