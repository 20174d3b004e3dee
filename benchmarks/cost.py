"""The cost and power of study designs: the paper's own procedure compared with one run per fold and a validation schedule.

    python benchmarks/cost.py [--tables 1000] [--out docs/cost.md]

`generators.py` draws tables of six columns with a known truth. The times are those of `gpu-nvidia-h200.json`, of NVIDIA's
published epoch, and of `docs/speed.md`; an experiment's time is in proportion to its GFLOPs (`docs/variants.csv`).
"""

from __future__ import annotations

import argparse
import csv
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import ttest_rel

from brats_ablate.config.locations import resource_dir
from brats_ablate.tables.comparison import BETTER, WORSE, compare
from brats_ablate.tables.designs import INTERIM
from brats_ablate.tables.statistics import holm
from brats_ablate.training.validation_schedule import ValidationSchedule
from calibration import BASE, FOLDS, GENERATORS, NOISY, SETTINGS, as_runs, pairs, replace_section, share
from generators import Drawn, Scenario

ALPHA = 0.05
ROOT = Path(__file__).parents[1]
EPOCHS, STEPS, CASES, RATES = 1000, 500, 251, 3
"""Of a run of the paper: epochs, steps of an epoch, validation cases of fold 0, and learning rates."""
A100_EPOCH_S = 175
"""NVIDIA's epoch of BraTS21, fold 0, on one A100: 500 steps and 251 validated volumes."""
A100_IMAGES_S = 27.5
"""NVIDIA's training patches of 128³ per second on an A100, batch 2 in mixed precision, without augmentation."""

Verdicts = Callable[[Drawn, Scenario], list[int]]
"""Sign of the difference that a procedure finds for each column after the baseline; 0 for none."""


def tested(drawn: Drawn, scenario: Scenario) -> list[int]:
    """Return the verdicts of `job=tables`."""
    found = {BETTER: 1, WORSE: -1}
    return [found.get(c.verdict, 0) for c in compare(pairs(scenario), as_runs(drawn, scenario), SETTINGS)]


def best_of_all(drawn: Drawn, *, adjusted: bool) -> list[int]:
    """Return the verdicts of a paired t-test over folds on each fold's best epoch at its best learning rate.

    `adjusted` corrects for the number of columns (Holm).
    """
    by_fold = np.stack([drawn.dice[..., drawn.fold == f, :].mean(axis=(-2, -1)) for f in range(FOLDS)], axis=-1)
    best = by_fold.max(axis=(1, 2))  # (columns, folds)
    result = ttest_rel(best[1:], best[:1], axis=1)
    p = holm(result.pvalue) if adjusted else result.pvalue
    signs: list[int] = np.where(p <= ALPHA, np.sign(result.statistic), 0).astype(int).tolist()
    return signs


PROCEDURES: tuple[tuple[str, int, Verdicts], ...] = (
    ("paper: best epoch, best of 3 rates, t-test over folds", 3, lambda d, s: best_of_all(d, adjusted=False)),
    ("the same, Holm over the columns", 3, lambda d, s: best_of_all(d, adjusted=True)),
    ("3 rates as replicates, last 10 epochs, `job=tables`", 3, tested),
    ("**1 run per fold, last 10 epochs, `job=tables`**", 1, tested),
)
"""Title, runs per fold and column, and verdicts."""
NOISIER = replace(BASE, title="noisier epochs", epochs=NOISY)
SCENARIOS = (BASE, NOISIER, *(replace(BASE, title=f"{gain}", gain=gain) for gain in (0.001, 0.0019, 0.003)))


def simulated(tables: int, seed: int) -> Iterator[str]:
    """Yield the lines of a Markdown table: false verdicts and power of each procedure, by both generators."""
    yield (
        f"{tables} tables of six columns per cell and generator. False: tables with a verdict on a difference that does "
        "not exist. Power: tables that call column 1 better, by its true gain. In brackets the standard error."
    )
    yield ""
    yield (
        "| procedure | runs per fold | generator | false | false, epochs 3× noisier in three columns | power, 0.001 | "
        "0.0019 | 0.003 |"
    )
    yield "|---|--:|---|--:|--:|--:|--:|--:|"
    for runs in (3, 1):
        chosen = [(title, verdicts) for title, needed, verdicts in PROCEDURES if needed == runs]
        for name in GENERATORS:
            cells = [_rates(replace(s, runs=(runs,)), name, [v for _, v in chosen], tables, seed) for s in SCENARIOS]
            for i, (title, _) in enumerate(chosen):
                yield f"| {title} | {runs} | {name} | {' | '.join(of_scenario[i] for of_scenario in cells)} |"


def _rates(scenario: Scenario, name: str, procedures: Sequence[Verdicts], tables: int, seed: int) -> list[str]:
    draw = np.random.default_rng([seed, SCENARIOS.index(replace(scenario, runs=BASE.runs)), scenario.most_runs])
    counts = [0] * len(procedures)
    for _ in range(tables):
        drawn = GENERATORS[name](scenario, draw)
        for i, procedure in enumerate(procedures):
            signs = procedure(drawn, scenario)
            counts[i] += signs[0] == 1 if scenario.gain else any(signs)
    return [share(count / tables, tables) for count in counts]


@dataclass(frozen=True)
class EpochTime:
    """Time of an epoch of the baseline network, in seconds."""

    source: str
    training: float
    validation: float
    """Of all cases by the sliding window."""


def epoch_times() -> list[EpochTime]:
    """Return the known splits of an epoch into training and validation."""
    results = json.loads((ROOT / "benchmarks/results/gpu-nvidia-h200.json").read_text(encoding="utf-8"))
    latest: dict[str, Any] = {name: found for run in results["runs"] for name, found in run["results"].items()}
    validation = CASES * latest["training"]["validation_s_per_case"]
    step, fed = latest["step ours compiled"]["step_ms"], latest["training"]["step_ms"]
    steps = 2 * STEPS / A100_IMAGES_S
    return [
        EpochTime("H200: compiled step and validation, measured", STEPS * step / 1000, validation),
        EpochTime("H200: the GPU waits for patches (see docs/speed.md), measured", STEPS * fed / 1000, validation),
        EpochTime("A100, NVIDIA: epoch measured, split estimated from its steps", steps, A100_EPOCH_S - steps),
    ]


def study() -> list[tuple[str, float]]:
    """Return each distinct experiment of the paper's tables with its GFLOPs relative to the baseline's."""
    import yaml

    specs = (yaml.safe_load((resource_dir("experiments") / f"table{n}.yaml").read_text()) for n in (1, 2, 3))
    names = dict.fromkeys(column["experiment"] for spec in specs for column in spec["columns"])
    with (ROOT / "docs/variants.csv").open(encoding="utf-8", newline="") as file:
        gflop = {row["experiment"]: float(row["forward_gflop"]) for row in csv.DictReader(file)}
    return [(name, gflop[name] / gflop["baseline"]) for name in names]


def priced() -> Iterator[str]:
    """Yield the lines of a Markdown table: hours of the study by design, for each split of an epoch."""
    experiments = study()
    epochs = FOLDS * EPOCHS * sum(relative for _, relative in experiments)
    cheap = scheduled()
    interim, final = cheap.count(EPOCHS)
    share = (interim * INTERIM + final) / EPOCHS
    yield (
        f"{len(experiments)} distinct experiments, whose GFLOPs are together {sum(r for _, r in experiments):.1f} times "
        f"the baseline's, × {FOLDS} folds × {EPOCHS:,} epochs. Scheduled: {interim} validations in one pass and {final} by the "
        f"sliding window in place of {EPOCHS:,}, {share:.0%} of their time. GPU-hours:"
    )
    yield ""
    yield (
        "| epoch of the baseline | training s | validation s | 3 rates, every epoch | 3 rates, scheduled | "
        "1 run, every epoch | **1 run, scheduled** | ratio |"
    )
    yield "|---|--:|--:|--:|--:|--:|--:|--:|"
    for t in epoch_times():
        full, less = (epochs * (t.training + t.validation * part) / 3600 for part in (1, share))
        hours = (RATES * full, RATES * less, full)
        cells = " | ".join(f"{h:,.0f}" for h in hours)
        ends = f"**{less:,.0f}** | **1/{RATES * full / less:.1f}** |"
        yield f"| {t.source} | {t.training:.1f} | {t.validation:.1f} | {cells} | {ends}"


def scheduled() -> ValidationSchedule:
    """Return the schedule of `validation=scheduled`."""
    import yaml

    node = yaml.safe_load((resource_dir("conf") / "validation/scheduled.yaml").read_text(encoding="utf-8"))
    return ValidationSchedule(**{key: value for key, value in node.items() if not key.startswith("_")})


def main() -> None:
    """Simulate and price the designs and print; with --out, replace the sections of that document."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--tables", type=int, default=1000, help="simulated tables per cell; 0 prices the designs only")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="document in which to replace the sections between the markers")
    arguments = parser.parse_args()
    started = time.perf_counter()
    sections = {"hours": priced()}
    if arguments.tables:
        sections["power"] = simulated(arguments.tables, arguments.seed)
    for name, lines in sections.items():
        text = []
        for line in lines:
            print(line, flush=True)
            text.append(line)
        if arguments.out:
            replace_section(arguments.out, f"cost: {name}", "\n".join([*text, ""]))
    print(f"{time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main()
