"""The simulation of designs runs, and its rates are those of its own draws."""

from __future__ import annotations

import effects as simulation
from generators import Scenario


def test_a_simulation_without_effects_has_few_verdicts() -> None:
    scenario = Scenario("no difference", columns=8, cases=60)
    false, covered = simulation.simulate(simulation.GENERATORS["A"], scenario, tables=10, seed=0)
    assert 0 <= false <= 0.5
    assert covered > 0.8
    text = simulation.report(2, [scenario])
    assert text.count("| no difference | 3 |") == 2
