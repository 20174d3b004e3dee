"""Do the tables call chance a finding? Simulated tables of known truth go through the code that `job=tables` uses.

    python benchmarks/calibration.py [--tables 1000] [--out docs/statistics.md]

Per-case Dice as in BraTS: WT, TC and ET with a heavy left tail, a few per cent of cases without ET (1 or 0), the
difficulty of a case shared by all networks. Every trained network has its own error, a factor per fold and column, so
that two trainings of one recipe differ too. Mean (0.91), its scatter over folds (0.006) and that of the differences of
two columns over folds (0.0008) are as in the paper's table 2.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.special import ndtr

from brats_ablate.tables.case_scores import CaseScores
from brats_ablate.tables.comparison import BETTER, WORSE, Comparison, compare
from brats_ablate.tables.scores import FINISHED, Cell, Scores
from brats_ablate.tables.statistics import permutation_p_values, required_sample_size

FOLDS = 5
NO_ET = 33 / 1251
"""Share of BraTS 2021's training cases without ET."""
INVENTED_ET = 0.3
"""Share of those in which a network finds one."""
BEGIN, END = "<!-- calibration: begin -->", "<!-- calibration: end -->"


@dataclass(frozen=True)
class World:
    """What is simulated."""

    title: str
    cases: int
    columns: int
    """Held against the baseline."""
    gain: float = 0.0
    """True gain in mean Dice of the first column."""
    seed_sd: float = 0.0004
    """Standard deviation of one fold's mean Dice over seeds."""
    case_noise: float = 0.06
    """Scatter of log(1 - Dice) of one case between two networks."""
    agreement: float = 0.99
    """Correlation of two networks in whether they invent an ET in a case without."""


@dataclass(frozen=True)
class Outcome:
    """What came of it over all tables."""

    tables: int
    any_called: float
    """Share of tables with a column wrongly called different."""
    first_called: float
    """Share of tables in which the first column is called better."""
    holm_alone: float
    folds_alone: float
    covered: float
    """Share of intervals that hold the true difference of the networks as trained."""


def simulate(world: World, tables: int, seed: int) -> Outcome:
    """Draw `tables` tables of `world` and judge them."""
    draw = np.random.default_rng(seed)
    any_called = first = holm_alone = folds_alone = covered = intervals = 0
    for _ in range(tables):
        dice, expected, folds = _draw_table(world, draw)
        comparisons = _judge(dice, folds, resamples=2000)
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
    """(columns + 1, cases, 3) Dice, each column's true difference as trained, (cases,) folds."""
    n, columns = world.cases, world.columns + 1
    folds = np.arange(n) % FOLDS
    skill = draw.normal(0, world.seed_sd / _LEVERAGE, size=(columns, FOLDS))[:, folds]
    skill[1] -= world.gain / _LEVERAGE
    noise = np.exp(draw.normal(0, world.case_noise, size=(columns, n, 3)) - world.case_noise**2 / 2)
    dice = 1 - np.clip(_errors(n, draw) * noise * (1 + skill[:, :, None]), 0, 1)
    empty = draw.random(n) < NO_ET
    # Whether a network invents an ET depends on the case more than on the network.
    shared, own = np.sqrt(world.agreement), np.sqrt(1 - world.agreement)
    latent = shared * draw.normal(size=n) + own * draw.normal(size=(columns, n))
    invented = ndtr(latent) < INVENTED_ET * (1 + skill)
    dice[:, empty, 2] = ~invented[:, empty]
    return dice, -(skill[1:] - skill[:1]).mean(axis=1) * _LEVERAGE, folds


def _errors(n: int, draw: np.random.Generator) -> np.ndarray:
    """(n, 3) 1 - Dice of WT, TC, ET: logit-normal, and now and then a region that is missed."""
    logit = np.array([3.0, 3.1, 2.6]) - 0.55 * draw.normal(size=(n, 1)) - 0.65 * draw.normal(size=(n, 3))
    return 1 / (1 + np.exp(logit - 2.6 * (draw.random((n, 3)) < 0.05)))


def _leverage() -> float:
    """Mean 1 - Dice over cases: by this a relative error of 1 moves the mean Dice."""
    error = _errors(1_000_000, np.random.default_rng(12345)).mean(axis=0)
    return float(error.mean() + NO_ET * (INVENTED_ET - error[2]) / 3)


def _judge(dice: np.ndarray, folds: np.ndarray, resamples: int) -> list[Comparison]:
    """The comparisons of a table in which every run is finished."""
    names = tuple(f"case{i:04d}" for i in range(len(folds)))
    rows = [CaseScores(names, folds, column, np.full(len(folds), np.nan)) for column in dice]
    by_fold = [[float(r.mean_dice[folds == f].mean()) for f in range(FOLDS)] for r in rows]
    scores = [Scores(tuple(Cell(FINISHED, value) for value in values)) for values in by_fold]
    pairs = [(i, 0 if i else None) for i in range(len(rows))]
    return compare(pairs, scores, rows, folds=FOLDS, resamples=resamples, seed=0)


def power_of_stated_cases(gain: float, tables: int, seed: int) -> tuple[int, float]:
    """The cases that `cases_needed` states for 80 % power, and how often the test over cases then sees `gain`."""
    world = World("", 20_000, 1, gain=gain, seed_sd=0.0)
    draw = np.random.default_rng(seed)
    dice, _, _ = _draw_table(world, draw)
    sd = float((dice[1] - dice[0]).mean(axis=1).std(ddof=1))
    n = int(required_sample_size(sd, gain))
    seen = 0
    for _ in range(tables):
        dice, _, _ = _draw_table(World("", n, 1, gain=gain, seed_sd=0.0), draw)
        p = permutation_p_values((dice[1] - dice[0]).mean(axis=1, keepdims=True), 2000, 0)[0]
        seen += bool(p <= 0.05)
    return n, seen / tables


WORLDS = (
    World("no difference, 5 columns", 1251, 5),
    World("no difference, 11 columns", 1251, 11),
    World("no difference, 5 columns, trainings scatter thrice as much", 1251, 5, seed_sd=0.0012),
    World("no difference, 5 columns, trainings do not scatter", 1251, 5, seed_sd=0.0),
    World("no difference, 5 columns, cases scatter thrice as much", 1251, 5, case_noise=0.18, agreement=0.7),
    World("no difference, 5 columns, 484 cases", 484, 5),
    World("no difference, 2 columns, 50 cases", 50, 2),
    World("one of 5 columns better by 0.001", 1251, 5, gain=0.001),
    World("one of 5 columns better by 0.0019 (the paper's DS)", 1251, 5, gain=0.0019),
    World("one of 5 columns better by 0.003", 1251, 5, gain=0.003),
)


def report(tables: int) -> str:
    """Everything as a Markdown section."""
    lines = [
        f"{tables} tables each; the largest standard error of a share is {50 / tables**0.5:.1f} %.",
        "",
        "| simulated | cases | wrongly called, any column | by cases alone (Holm) | by folds alone | "
        "first column called better | intervals that hold the truth |",
        "|---|--:|--:|--:|--:|--:|--:|",
    ]
    for seed, world in enumerate(WORLDS):
        found = simulate(world, tables, seed)
        first = f"{found.first_called:.1%}" if world.gain else "–"
        lines.append(
            f"| {world.title} | {world.cases} | **{found.any_called:.1%}** | {found.holm_alone:.1%} | "
            f"{found.folds_alone:.1%} | {first} | {found.covered:.1%} |"
        )
        print(lines[-1], flush=True)
    lines += ["", "| true Δ | cases stated for 80 % power | the test over cases sees it |", "|--:|--:|--:|"]
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
