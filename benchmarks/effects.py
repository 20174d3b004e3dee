"""Calibration of a factorial design's verdicts: simulated 2³ designs with a known truth, by the code of `job=tables`.

    python benchmarks/effects.py [--tables 1000] [--out docs/statistics.md]

`generators.py` draws the columns. A gain of one factor is not simulated: its power is that of any difference with the
same variance (`calibration.py`).
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from brats_ablate.tables.effects import contrast, effects
from calibration import BASE, GENERATORS, ONE_RUN, SETTINGS, as_runs, is_false, replace_section, share
from generators import Generator, Scenario

FACTORS = ("a", "b", "c")
COMBINATIONS = [frozenset(on) for size in range(4) for on in itertools.combinations(FACTORS, size)]
NOISE = (
    ("no difference", {}),
    ("epochs 3× noisier in four columns", {"epochs": (1, 1, 1, 1, 3)}),
    ("one column with 3× training noise", {"training": (1, 1, 1, 3, 1)}),
    ("the column without factors with 3× training noise", {"training": (3, 1)}),
    ("the column of all factors with 3× training noise", {"training": (1,) * 7 + (3,)}),
)
SCENARIOS = [replace(base, title=title, columns=8, **noise) for base in (BASE, ONE_RUN) for title, noise in NOISE]


def simulate(generator: Generator, scenario: Scenario, tables: int, seed: int) -> tuple[float, float]:
    """Return the share of designs with a false verdict in any effect, and the coverage of the intervals."""
    draw = np.random.default_rng(seed)
    false = 0
    covered: list[bool] = []
    for _ in range(tables):
        drawn = generator(scenario, draw)
        found = effects(FACTORS, COMBINATIONS, as_runs(drawn, scenario), SETTINGS)
        true = [contrast(e.kind, e.factors, FACTORS, COMBINATIONS) @ drawn.recipe for e in found]
        false += any(is_false(e.verdict, t) for e, t in zip(found, true, strict=True))
        covered += [e.interval.low <= t <= e.interval.high for e, t in zip(found, true, strict=True)]
    return false / tables, float(np.mean(covered))


def report(tables: int, scenarios: Sequence[Scenario]) -> str:
    """Simulate with both generators and format the results as a Markdown section."""
    lines = [
        f"Designs of three factors: three main effects, four interactions, three effects given all others. {tables} "
        "designs per line and generator; in brackets the standard error.",
        "",
        "| simulated | runs per fold | generator | false verdict in any effect | coverage of the 95 % CI |",
        "|---|--:|---|--:|--:|",
    ]
    for seed, scenario in enumerate(scenarios):
        for name, generator in GENERATORS.items():
            false, covered = simulate(generator, scenario, tables, 2 * seed + (name == "B"))
            cells = (scenario.title, scenario.most_runs, name, f"**{share(false, tables)}**")
            lines.append("| " + " | ".join(map(str, cells)) + f" | {100 * covered:.1f} % |")
            print(lines[-1], flush=True)
    return "\n".join(lines) + "\n"


def main() -> None:
    """Simulate and print; with --out, replace the section of that document."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--tables", type=int, default=1000, help="simulated designs per line")
    parser.add_argument("--out", type=Path, help="document in which to replace the section between the two markers")
    arguments = parser.parse_args()
    section = report(arguments.tables, SCENARIOS)
    if arguments.out:
        replace_section(arguments.out, "effects:", section)


if __name__ == "__main__":
    main()
