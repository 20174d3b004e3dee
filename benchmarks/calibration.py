"""Measure the false-positive rate of the tables: simulated tables of known truth go through the code of `job=tables`.

    python benchmarks/calibration.py [--tables 1000] [--out docs/statistics.md]

Per-case Dice as in BraTS: WT, TC and ET with a heavy left tail, a few per cent of cases without ET (1 or 0), the
difficulty of a case shared by all networks. Every trained network has its own error, a factor per fold and column, so
that two training runs of one recipe differ too. Mean (0.91), its SD over folds (0.006) and that of the differences of
two columns over folds (0.0008) are as in the paper's table 2.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pandas import DataFrame
from scipy.special import ndtr

from brats_ablate.labels import REGIONS
from brats_ablate.tables.comparison import BETTER, WORSE, Comparison, compare
from brats_ablate.tables.scores import FoldScore, FoldScores
from brats_ablate.tables.statistics import permutation_p_values, required_sample_size

FOLDS = 5
NO_ET = 33 / 1251
"""Share of BraTS 2021's training cases without ET."""
FALSE_ET = 0.3
"""Share of those in which a network predicts one."""
BEGIN, END = "<!-- calibration: begin -->", "<!-- calibration: end -->"


@dataclass(frozen=True)
class World:
    """Parameters of a simulation."""

    title: str
    cases: int
    columns: int
    """Compared with the baseline."""
    gain: float = 0.0
    """True gain in mean Dice of the first column."""
    seed_sd: float = 0.0004
    """Standard deviation of one fold's mean Dice over seeds."""
    case_noise: float = 0.06
    """SD of log(1 - Dice) of one case between two networks."""
    agreement: float = 0.99
    """Correlation of two networks in whether they predict an ET in a case without."""


@dataclass(frozen=True)
class Outcome:
    """Shares over all tables."""

    tables: int
    any_called: float
    """Share of tables with a false positive."""
    first_called: float
    """Share of tables in which the first column is called better."""
    holm_alone: float
    folds_alone: float
    covered: float
    """Share of intervals that contain the true difference of the networks as trained."""


def simulate(world: World, tables: int, seed: int) -> Outcome:
    """Draw `tables` tables of `world` and compare their columns."""
    draw = np.random.default_rng(seed)
    any_called = first = holm_alone = folds_alone = covered = intervals = 0
    for _ in range(tables):
        dice, expected, folds = _draw_table(world, draw)
        comparisons = _compare(dice, folds, resamples=2000)
        null = comparisons[1:] if world.gain else comparisons
        any_called += any(c.verdict in (BETTER, WORSE) for c in null)
        holm_alone += any(c.p_holm <= 0.05 for c in null)
        folds_alone += any(c.p_folds <= 0.05 for c in null)
        first += comparisons[0].verdict == BETTER
        for c, truth in zip(comparisons, expected, strict=True):
            covered += c.interval.low <= truth <= c.interval.high
            intervals += 1
    share = 1 / tables
    return Outcome(
        tables, any_called * share, first * share, holm_alone * share, folds_alone * share, covered / intervals
    )


def _draw_table(world: World, draw: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw (columns + 1, cases, 3) Dice, each column's true difference as trained, (cases,) folds."""
    n, columns = world.cases, world.columns + 1
    folds = np.arange(n) % FOLDS
    skill = draw.normal(0, world.seed_sd / _LEVERAGE, size=(columns, FOLDS))[:, folds]
    skill[1] -= world.gain / _LEVERAGE
    noise = np.exp(draw.normal(0, world.case_noise, size=(columns, n, 3)) - world.case_noise**2 / 2)
    dice = 1 - np.clip(_errors(n, draw) * noise * (1 + skill[:, :, None]), 0, 1)
    empty = draw.random(n) < NO_ET
    # Whether a network predicts a false ET depends on the case more than on the network.
    shared, own = np.sqrt(world.agreement), np.sqrt(1 - world.agreement)
    latent = shared * draw.normal(size=n) + own * draw.normal(size=(columns, n))
    false_et = ndtr(latent) < FALSE_ET * (1 + skill)
    dice[:, empty, 2] = ~false_et[:, empty]
    return dice, -(skill[1:] - skill[:1]).mean(axis=1) * _LEVERAGE, folds


def _errors(n: int, draw: np.random.Generator) -> np.ndarray:
    """Draw (n, 3) 1 - Dice of WT, TC, ET: logit-normal, with a region missed in 5 % of cases."""
    logit = np.array([3.0, 3.1, 2.6]) - 0.55 * draw.normal(size=(n, 1)) - 0.65 * draw.normal(size=(n, 3))
    return 1 / (1 + np.exp(logit - 2.6 * (draw.random((n, 3)) < 0.05)))


def _leverage() -> float:
    """Return the mean 1 - Dice over cases: the change of the mean Dice by a relative error of 1."""
    error = _errors(1_000_000, np.random.default_rng(12345)).mean(axis=0)
    return float(error.mean() + NO_ET * (FALSE_ET - error[2]) / 3)


def _compare(dice: np.ndarray, folds: np.ndarray, resamples: int) -> list[Comparison]:
    """Compare the columns of a table in which every run is finished."""
    names = [f"case{i:04d}" for i in range(len(folds))]
    rows = [DataFrame(of_column, names, list(REGIONS)).assign(fold=folds, ET_reference=np.nan) for of_column in dice]
    by_fold = [[float(of_column[folds == f].mean(axis=1).mean()) for f in range(FOLDS)] for of_column in dice]
    scores = [FoldScores(tuple(FoldScore("finished", value) for value in values)) for values in by_fold]
    pairs = [(i, 0 if i else None) for i in range(len(rows))]
    return compare(pairs, scores, rows, folds=FOLDS, resamples=resamples, seed=0)


def power_of_stated_cases(gain: float, tables: int, seed: int) -> tuple[int, float]:
    """Return the cases stated for 80 % power, and the share of tests over cases that then detect `gain`."""
    world = World("", 20_000, 1, gain=gain, seed_sd=0.0)
    draw = np.random.default_rng(seed)
    dice, _, _ = _draw_table(world, draw)
    sd = float((dice[1] - dice[0]).mean(axis=1).std(ddof=1))
    n = int(required_sample_size(sd, gain))
    detected = 0
    for _ in range(tables):
        dice, _, _ = _draw_table(World("", n, 1, gain=gain, seed_sd=0.0), draw)
        p = permutation_p_values((dice[1] - dice[0]).mean(axis=1, keepdims=True), 2000, 0)[0]
        detected += bool(p <= 0.05)
    return n, detected / tables


WORLDS = (
    World("no difference, 5 columns", 1251, 5),
    World("no difference, 11 columns", 1251, 11),
    World("no difference, 5 columns, run-to-run SD ×3", 1251, 5, seed_sd=0.0012),
    World("no difference, 5 columns, run-to-run SD 0", 1251, 5, seed_sd=0.0),
    World("no difference, 5 columns, case-level SD ×3", 1251, 5, case_noise=0.18, agreement=0.7),
    World("no difference, 5 columns, 484 cases", 484, 5),
    World("no difference, 2 columns, 50 cases", 50, 2),
    World("one of 5 columns better by 0.001", 1251, 5, gain=0.001),
    World("one of 5 columns better by 0.0019 (the paper's DS)", 1251, 5, gain=0.0019),
    World("one of 5 columns better by 0.003", 1251, 5, gain=0.003),
)


def report(tables: int) -> str:
    """Return everything as a Markdown section."""
    lines = [
        f"{tables} tables each; the largest standard error of a share is {50 / tables**0.5:.1f} %.",
        "",
        "| simulated | cases | false positives, any column | by cases alone (Holm) | by folds alone | "
        "first column called better | coverage of the intervals |",
        "|---|--:|--:|--:|--:|--:|--:|",
    ]
    for seed, world in enumerate(WORLDS):
        outcome = simulate(world, tables, seed)
        first = f"{outcome.first_called:.1%}" if world.gain else "–"
        lines.append(
            f"| {world.title} | {world.cases} | **{outcome.any_called:.1%}** | {outcome.holm_alone:.1%} | "
            f"{outcome.folds_alone:.1%} | {first} | {outcome.covered:.1%} |"
        )
        print(lines[-1], flush=True)
    lines += ["", "| true Δ | cases stated for 80 % power | the test over cases detects it |", "|--:|--:|--:|"]
    for seed, gain in enumerate((0.0005, 0.001, 0.002)):
        n, power = power_of_stated_cases(gain, tables, seed)
        lines.append(f"| {gain} | {n} | {power:.1%} |")
        print(lines[-1], flush=True)
    return "\n".join(lines) + "\n"


def main() -> None:
    """Simulate, print, and put the section into a document if one is named."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tables", type=int, default=1000, help="simulated tables per line")
    parser.add_argument("--out", type=Path, help="document whose part between the two markers is replaced")
    arguments = parser.parse_args()
    started = time.perf_counter()
    section = report(arguments.tables)
    print(f"{time.perf_counter() - started:.0f} s")
    if arguments.out:
        before, rest = arguments.out.read_text(encoding="utf-8").split(BEGIN)
        after = rest.split(END)[1]
        arguments.out.write_text(f"{before}{BEGIN}\n{section}{END}{after}", encoding="utf-8")


_LEVERAGE = _leverage()

if __name__ == "__main__":
    main()
