"""Run directories with synthetic scores, written by the class that training uses."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from brats_ablate.runs.directory import Coordinates, RunDirectory, RunRecord


def write_run(
    runs: Path,
    name: str,
    fold: int,
    dice: list[float],
    *,
    lr: float = 7e-4,
    seed: int = 0,
    state: str = "finished",
    epochs: int | None = None,
    cases: Mapping[str, tuple[float, float, float]] | None = None,
    et_voxels: Mapping[str, int] | None = None,
    manifest: Mapping[str, Any] | None = None,
) -> RunDirectory:
    """Write one run with mean Dice `dice` after epochs 1, 2, …; `cases` are the rows of every epoch."""
    run = RunDirectory.at(runs, Coordinates(name, fold, lr, seed))
    run.path.mkdir(parents=True)
    rows = [
        {"epoch": e, "step": 10 * e, "lr": lr, "loss": 1 / e, "dice": d, "dice/WT": d, "dice/TC": d, "dice/ET": d}
        | {"seconds": 30.0, "seconds/validation": 10.0}
        for e, d in enumerate(dice, start=1)
    ]
    run.append("metrics.jsonl", rows)
    for epoch in range(1, len(dice) + 1):
        run.append(
            "cases.jsonl",
            [
                {"epoch": epoch, "case": case, **dict(zip(("WT", "TC", "ET"), values, strict=True))}
                | ({"ET_reference": et_voxels[case]} if et_voxels else {})
                for case, values in (cases or {}).items()
            ],
        )
    run.write_manifest({"parameters": 1_000_000, "identity": {}, **(manifest or {})})
    run.write_status(RunRecord(state, len(dice), epochs or len(dice), max(dice, default=None), None))
    return run


def write_experiment(
    runs: Path,
    name: str,
    folds: list[float],
    *,
    cases_per_fold: int = 20,
    shift: float = 0.0,
    **options: Any,
) -> None:
    """Write five folds with the given Dice as the best epoch, and per-case rows around them."""
    for fold, dice in enumerate(folds):
        draw = np.random.default_rng(fold)
        values = np.clip(draw.normal(dice, 0.03, size=(cases_per_fold, 3)) + shift, 0, 1)
        cases = {f"case-{fold}-{i:03d}": tuple(map(float, v)) for i, v in enumerate(values)}
        write_run(runs, name, fold, [dice - 0.1, dice, dice - 0.002], cases=cases, **options)


@pytest.fixture(name="write_run")
def _write_run() -> Callable[..., RunDirectory]:
    return write_run


@pytest.fixture(name="write_experiment")
def _write_experiment() -> Callable[..., None]:
    return write_experiment
