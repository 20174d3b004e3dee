"""Calibration of the verdicts: pass simulated tables with a known truth through the code of `job=tables`.

    python benchmarks/calibration.py [--tables 1000] [--out docs/statistics.md]

Per-case Dice is as in BraTS: WT, TC and ET have a heavy left tail, a few percent of the cases have no ET (Dice 1 or 0),
and all networks share the difficulty of a case. Every trained network has its own error, a factor per fold and column, so
two training runs of the same recipe also differ. As in the paper's Table 2, the mean Dice is 0.91, its SD over folds is
0.006, and the SD over folds of the difference of two columns is 0.0008.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pandas import DataFrame
from scipy.special import ndtr

from brats_ablate.tables.comparison import BETTER, WORSE, Comparison, compare
from brats_ablate.tables.scores import FoldScore, FoldScores
from brats_ablate.tables.statistics import permutation_p_values, required_sample_size
from dataset import LABELS

FOLDS = 5
NO_ET = 33 / 1251
"""Share of BraTS 2021's training cases without ET."""
FALSE_ET = 0.3
"""Share of these cases in which a network predicts one."""
BEGIN, END = "<!-- calibration: begin -->", "<!-- calibration: end -->"


@dataclass(frozen=True)
class Scenario:
    """Parameters of one simulation."""

    title: str
    cases: int
    columns: int
    """Columns to compare with the baseline."""
    gain: float = 0.0
    """True gain in mean Dice of the first column."""
    seed_sd: float = 0.0004
    """SD of one fold's mean Dice over seeds."""
    case_noise: float = 0.06
    """SD of log(1 - Dice) of one case between networks."""
    agreement: float = 0.99
    """Correlation of two networks in whether they predict an ET where there is none."""


@dataclass(frozen=True)
class Rates:
    """Rates over all simulated tables."""

    tables: int
    false_positive: float
    """Share of tables with a false verdict on any column."""
    detected: float
    """Share of tables in which the first column is detected as better."""
    cases_only: float
    folds_only: float
    coverage: float
    """Share of intervals that contain the true difference of the networks as trained."""


def simulate(scenario: Scenario, tables: int, seed: int) -> Rates:
    """Draw `tables` tables of `scenario` and compute their verdicts."""
    draw = np.random.default_rng(seed)
    false_positive = detected = cases_only = folds_only = covered = intervals = 0
    for _ in range(tables):
        dice, expected, folds = _draw_table(scenario, draw)
        comparisons = _compare(dice, folds, resamples=2000)
        null = comparisons[1:] if scenario.gain else comparisons
        false_positive += any(c.verdict in (BETTER, WORSE) for c in null)
        cases_only += any(c.p_holm <= 0.05 for c in null)
        folds_only += any(c.p_folds <= 0.05 for c in null)
        detected += comparisons[0].verdict == BETTER
        for c, truth in zip(comparisons, expected, strict=True):
            covered += c.interval.low <= truth <= c.interval.high
            intervals += 1
    share = 1 / tables
    return Rates(
        tables, false_positive * share, detected * share, cases_only * share, folds_only * share, covered / intervals
    )


def _draw_table(scenario: Scenario, draw: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return (columns + 1, cases, 3) Dice, each column's true difference as trained, and (cases,) folds."""
    n, columns = scenario.cases, scenario.columns + 1
    folds = np.arange(n) % FOLDS
    skill = draw.normal(0, scenario.seed_sd / _LEVERAGE, size=(columns, FOLDS))[:, folds]
    skill[1] -= scenario.gain / _LEVERAGE
    noise = np.exp(draw.normal(0, scenario.case_noise, size=(columns, n, 3)) - scenario.case_noise**2 / 2)
    dice = 1 - np.clip(_errors(n, draw) * noise * (1 + skill[:, :, None]), 0, 1)
    empty = draw.random(n) < NO_ET
    # False-positive ET depends on the case more than on the network.
    shared, individual = np.sqrt(scenario.agreement), np.sqrt(1 - scenario.agreement)
    latent = shared * draw.normal(size=n) + individual * draw.normal(size=(columns, n))
    false_et = ndtr(latent) < FALSE_ET * (1 + skill)
    dice[:, empty, 2] = ~false_et[:, empty]
    return dice, -(skill[1:] - skill[:1]).mean(axis=1) * _LEVERAGE, folds


def _errors(n: int, draw: np.random.Generator) -> np.ndarray:
    """Draw (n, 3) values of 1 - Dice of WT, TC, ET: logit-normal, with 5 % of regions mostly missed."""
    logit = np.array([3.0, 3.1, 2.6]) - 0.55 * draw.normal(size=(n, 1)) - 0.65 * draw.normal(size=(n, 3))
    return 1 / (1 + np.exp(logit - 2.6 * (draw.random((n, 3)) < 0.05)))


def _leverage() -> float:
    """Return the mean of 1 - Dice over cases, by which a relative error of 1 changes the mean Dice."""
    error = _errors(1_000_000, np.random.default_rng(12345)).mean(axis=0)
    return float(error.mean() + NO_ET * (FALSE_ET - error[2]) / 3)


def _compare(dice: np.ndarray, folds: np.ndarray, resamples: int) -> list[Comparison]:
    """Compare the columns of a table in which every run is finished."""
    names = [f"case{i:04d}" for i in range(len(folds))]
    rows = [
        DataFrame(of_column, names, list(LABELS.regions)).assign(fold=folds, reference_voxels=np.nan)
        for of_column in dice
    ]
    by_fold = [[float(of_column[folds == f].mean(axis=1).mean()) for f in range(FOLDS)] for of_column in dice]
    scores = [FoldScores(tuple(FoldScore("finished", value) for value in values)) for values in by_fold]
    pairs = [(i, 0 if i else None) for i in range(len(rows))]
    return compare(pairs, scores, rows, regions=LABELS.averaged_names, folds=FOLDS, resamples=resamples, seed=0)


def power_at_required_size(gain: float, tables: int, seed: int) -> tuple[int, float]:
    """Return the required sample size for 80 % power and the simulated power of the test over cases at that size."""
    large = Scenario("", 20_000, 1, gain=gain, seed_sd=0.0)
    draw = np.random.default_rng(seed)
    dice, _, _ = _draw_table(large, draw)
    sd = float((dice[1] - dice[0]).mean(axis=1).std(ddof=1))
    n = int(required_sample_size(sd, gain))
    significant = 0
    for _ in range(tables):
        dice, _, _ = _draw_table(Scenario("", n, 1, gain=gain, seed_sd=0.0), draw)
        p = permutation_p_values((dice[1] - dice[0]).mean(axis=1, keepdims=True), 2000, 0)[0]
        significant += bool(p <= 0.05)
    return n, significant / tables


SCENARIOS = (
    Scenario("no difference, 5 columns", 1251, 5),
    Scenario("no difference, 11 columns", 1251, 11),
    Scenario("no difference, 5 columns, run-to-run SD ×3", 1251, 5, seed_sd=0.0012),
    Scenario("no difference, 5 columns, no run-to-run variability", 1251, 5, seed_sd=0.0),
    Scenario("no difference, 5 columns, case-level SD ×3", 1251, 5, case_noise=0.18, agreement=0.7),
    Scenario("no difference, 5 columns, 484 cases", 484, 5),
    Scenario("no difference, 2 columns, 50 cases", 50, 2),
    Scenario("one of 5 columns better by 0.001", 1251, 5, gain=0.001),
    Scenario("one of 5 columns better by 0.0019 (the paper's DS)", 1251, 5, gain=0.0019),
    Scenario("one of 5 columns better by 0.003", 1251, 5, gain=0.003),
)


def report(tables: int) -> str:
    """Simulate all scenarios and format the results as a Markdown section."""
    lines = [
        f"{tables} tables per line; the largest standard error of a rate is {50 / tables**0.5:.1f} %.",
        "",
        "| simulated | cases | false positives, any column | cases only (Holm) | folds only | "
        "first column detected as better | coverage of the 95 % CI |",
        "|---|--:|--:|--:|--:|--:|--:|",
    ]
    for seed, scenario in enumerate(SCENARIOS):
        rates = simulate(scenario, tables, seed)
        detected = f"{rates.detected:.1%}" if scenario.gain else "–"
        lines.append(
            f"| {scenario.title} | {scenario.cases} | **{rates.false_positive:.1%}** | {rates.cases_only:.1%} | "
            f"{rates.folds_only:.1%} | {detected} | {rates.coverage:.1%} |"
        )
        print(lines[-1], flush=True)
    lines += ["", "| true Δ | required n for 80 % power | power of the test over cases |", "|--:|--:|--:|"]
    for seed, gain in enumerate((0.0005, 0.001, 0.002)):
        n, power = power_at_required_size(gain, tables, seed)
        lines.append(f"| {gain} | {n} | {power:.1%} |")
        print(lines[-1], flush=True)
    return "\n".join(lines) + "\n"


def main() -> None:
    """Simulate and print; with --out, replace the section of that document."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tables", type=int, default=1000, help="simulated tables per line")
    parser.add_argument("--out", type=Path, help="document in which to replace the section between the two markers")
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
