"""Run directories with synthetic scores, written by the class that training uses."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scaffolding
from scaffolding import run_at
from schemes import REGIONS

from brats_ablate.runs.directory import RunDirectory


def write_run(
    runs: Path,
    name: str,
    fold: int,
    dice: Sequence[float],
    *,
    lr: float = 7e-4,
    seed: int = 0,
    state: str = "finished",
    **content: Any,
) -> RunDirectory:
    """Write one run with mean Dice `dice` after epochs 1, 2, …; `content` as in scaffolding.write_run."""
    return scaffolding.write_run(run_at(runs, name, fold, lr, seed), state, dice=dice, **content)


def write_experiment(
    runs: Path,
    name: str,
    folds: list[float],
    *,
    cases_per_fold: int = 20,
    shift: float = 0.0,
    regions: Sequence[str] = REGIONS,
    **options: Any,
) -> None:
    """Write five folds with the given Dice as the best epoch, and per-case rows around them."""
    for fold, dice in enumerate(folds):
        draw = np.random.default_rng(fold)
        values = np.clip(draw.normal(dice, 0.03, size=(cases_per_fold, len(regions))) + shift, 0, 1)
        cases = {f"case-{fold}-{i:03d}": tuple(map(float, v)) for i, v in enumerate(values)}
        write_run(runs, name, fold, [dice - 0.1, dice, dice - 0.002], cases=cases, regions=regions, **options)


@pytest.fixture(name="write_run")
def _write_run() -> Callable[..., RunDirectory]:
    return write_run


@pytest.fixture(name="write_experiment")
def _write_experiment() -> Callable[..., None]:
    return write_experiment
