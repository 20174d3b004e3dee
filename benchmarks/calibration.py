"""Calibration of the verdicts: pass simulated tables with a known truth through the code of `job=tables`.

    python benchmarks/calibration.py [--tables 1000] [--only 22] [--out docs/statistics.md]

`generators.py` draws the tables; see there for what they have in common with BraTS.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from brats_ablate.tables import maxt
from brats_ablate.tables.comparison import BETTER, WORSE, Comparison, compare
from brats_ablate.tables.difference import Settings
from brats_ablate.tables.tested_scores import ColumnRuns, over_scans
from generators import FOLDS, Drawn, Generator, Scenario, components, factors_only

GENERATORS: dict[str, Generator] = {"A": factors_only, "B": components}
SETTINGS = Settings(folds=FOLDS, draws=4000)
NOISY = (1, 1, 1, 3, 3, 3)


@dataclass(frozen=True)
class Rates:
    """Rates over all simulated tables, each with its number of trials."""

    tables: int
    columns: int
    """Comparisons of a table."""
    false: float
    """Share of tables with a false verdict in any column, the wrong direction included."""
    detected: float
    """Share of tables in which column 1 is called better."""
    stated: float
    """Mean power that the tables state for the true gain of column 1."""
    covered: float
    """Share of intervals that contain the true difference of the recipes."""
    beyond_floor: float
    """Share of columns whose difference as trained is beyond the noise floor, given equal recipes."""


def simulate(generator: Generator, scenario: Scenario, tables: int, seed: int) -> Rates:
    """Draw `tables` tables of `scenario` and compute their verdicts."""
    draw = np.random.default_rng(seed)
    false = detected = covered = beyond = 0
    stated = 0.0
    for _ in range(tables):
        drawn = generator(scenario, draw)
        comparisons = compare(pairs(scenario), as_runs(drawn, scenario), SETTINGS)
        true = drawn.recipe[1:] - drawn.recipe[0]
        trained = np.array([(drawn.trained[c.column] - drawn.trained[0])[: len(c.runs)].mean() for c in comparisons])
        false += any(is_false(c.verdict, t) for c, t in zip(comparisons, true, strict=True))
        detected += comparisons[0].verdict == BETTER
        stated += stated_power(comparisons[0], scenario.gain) if scenario.gain else 0.0
        covered += sum(c.interval.low <= t <= c.interval.high for c, t in zip(comparisons, true, strict=True))
        floors = np.array([c.noise_floor for c in comparisons])
        beyond += int((np.abs(trained - true) > floors).sum())
    m = scenario.columns - 1
    n = tables * m
    return Rates(tables, m, false / tables, detected / tables, stated / tables, covered / n, beyond / n)


def pairs(scenario: Scenario) -> list[tuple[int, int]]:
    """Compare every column with column 0."""
    return [(c, 0) for c in range(1, scenario.columns)]


def is_false(verdict: str, true: float) -> bool:
    """Whether the verdict names a difference that does not exist."""
    return (verdict == BETTER and true <= 0) or (verdict == WORSE and true >= 0)


def stated_power(c: Comparison, gain: float) -> float:
    """Return the power that the comparison states for a true difference."""
    return maxt.power(gain, c.variance, c.degrees, c.critical)


def as_runs(drawn: Drawn, scenario: Scenario) -> list[ColumnRuns]:
    """Return the scores under test of the table's columns, as if read from run directories."""
    names = np.array([f"p{i:05d}" for i in drawn.patient])
    x = drawn.dice.mean(axis=(2, 4), dtype=np.float64)
    parts = [np.flatnonzero(drawn.fold == f) for f in range(FOLDS)]
    unknown = [np.full(len(part), math.nan) for part in parts]
    patients = [names[part] for part in parts]
    return [
        {
            (lr, 0): {f: over_scans(patients[f], x[c, lr, parts[f]], unknown[f], unknown[f]) for f in range(FOLDS)}
            for lr in range(scenario.runs_of(c))
        }
        for c in range(scenario.columns)
    ]


BASE = Scenario("no difference")
ONE_RUN = replace(BASE, runs=(1,))
NULLS = (
    BASE,
    replace(BASE, title="epochs 2× noisier in three columns", epochs=(1, 1, 1, 2, 2, 2)),
    replace(BASE, title="epochs 3× noisier in three columns", epochs=NOISY),
    replace(BASE, title="three columns with one learning rate", runs=(3, 3, 3, 1)),
    replace(BASE, title="the baseline with three learning rates, the others with one", runs=(3, 1)),
    replace(BASE, title="one column with 3× case noise", case_noise=(1, 3, 1)),
    replace(BASE, title="one column with 3× training noise", training=(1, 3, 1)),
    replace(BASE, title="the baseline with 3× training noise", training=(3, 1)),
    replace(BASE, title="all columns with 3× training noise", training=(3,)),
    replace(BASE, title="2 columns", columns=2),
    replace(BASE, title="12 columns", columns=12),
    replace(BASE, title="22 columns", columns=22),
    replace(BASE, title="1 to 6 scans per patient", scans=6),
    replace(BASE, title="484 patients", cases=484),
)
ONE_RUN_NULLS = (
    ONE_RUN,
    replace(ONE_RUN, title="epochs 3× noisier in three columns", epochs=NOISY),
    replace(ONE_RUN, title="one column with 3× case noise", case_noise=(1, 3, 1)),
    replace(ONE_RUN, title="one column with 3× training noise", training=(1, 3, 1)),
    replace(ONE_RUN, title="the baseline with 3× training noise", training=(3, 1)),
    replace(ONE_RUN, title="all columns with 3× training noise", training=(3,)),
    replace(ONE_RUN, title="2 columns", columns=2),
    replace(ONE_RUN, title="12 columns", columns=12),
    replace(ONE_RUN, title="22 columns", columns=22),
    replace(ONE_RUN, title="1 to 6 scans per patient", scans=6),
    replace(ONE_RUN, title="484 patients", cases=484),
)
GAINS = tuple(
    replace(base, title=f"column 1 better by {gain}", gain=gain)
    for base in (BASE, ONE_RUN)
    for gain in (0.001, 0.0019, 0.003)
)
SCENARIOS = (*NULLS, *ONE_RUN_NULLS, *GAINS)


def report(tables: int, scenarios: Sequence[Scenario], offset: int = 0) -> str:
    """Simulate scenarios with both generators and format the results as a Markdown section."""
    lines = [
        f"{tables} tables per line and generator; in brackets the standard error. Power: stated by the tables / simulated.",
        "",
        "| simulated | columns | runs per fold | generator | false verdict in any column | coverage of the 95 % CI | "
        "noise floor exceeded | power for column 1 |",
        "|---|--:|--:|---|--:|--:|--:|--:|",
    ]
    for seed, scenario in enumerate(scenarios):
        for name, generator in GENERATORS.items():
            rates = simulate(generator, scenario, tables, 1000 * offset + 2 * seed + (name == "B"))
            lines.append(_line(scenario, name, rates))
            print(lines[-1], flush=True)
    return "\n".join(lines) + "\n"


def _line(scenario: Scenario, generator: str, r: Rates) -> str:
    runs = " or ".join(map(str, sorted(set(scenario.runs))))
    # Columns of one table are correlated; a table counts once.
    false, covered, beyond, detected = (share(p, r.tables) for p in (r.false, r.covered, r.beyond_floor, r.detected))
    power = f"{r.stated:.0%} / {detected}" if scenario.gain else ""
    cells = (scenario.title, scenario.columns, runs, generator, f"**{false}**", covered, beyond, power)
    return f"| {' | '.join(map(str, cells))} |"


def share(p: float, n: int) -> str:
    """Format a share of n trials in percent, with its standard error."""
    return f"{100 * p:.1f} % ({100 * math.sqrt(p * (1 - p) / n):.1f})"


def replace_section(document: Path, name: str, section: str) -> None:
    """Replace what a document has between the two markers of a section."""
    begin, end = f"<!-- {name} begin -->\n", f"<!-- {name} end -->"
    before, rest = document.read_text(encoding="utf-8").split(begin)
    document.write_text(before + begin + section + end + rest.split(end)[1], encoding="utf-8")


def main() -> None:
    """Simulate and print; with --out, replace the section of that document."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--tables", type=int, default=1000, help="simulated tables per line")
    parser.add_argument("--only", default="", help="part of the titles to simulate")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="document in which to replace the section between the two markers")
    arguments = parser.parse_args()
    started = time.perf_counter()
    chosen = [s for s in SCENARIOS if arguments.only in s.title]
    section = report(arguments.tables, chosen, arguments.seed)
    print(f"{time.perf_counter() - started:.0f} s")
    if arguments.out:
        replace_section(arguments.out, "calibration:", section)


if __name__ == "__main__":
    main()
