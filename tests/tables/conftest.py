"""Run directories with synthetic scores, written by the class that training uses."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from schemes import REGIONS

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
    cases: Mapping[str, tuple[float, ...]] | None = None,
    et_voxels: Mapping[str, int] | None = None,
    regions: Sequence[str] = REGIONS,
    manifest: Mapping[str, Any] | None = None,
) -> RunDirectory:
    """Write one run with mean Dice `dice` after epochs 1, 2, …; `cases` are the rows of every epoch."""
    run = RunDirectory.at(runs, Coordinates(name, fold, lr, seed))
    run.path.mkdir(parents=True)
    sized = "ET" if "ET" in regions else regions[-1]
    rows = [
        {"epoch": e, "step": 10 * e, "lr": lr, "loss": 1 / e, "dice": d, **{f"dice/{r}": d for r in regions}}
        | {"seconds": 30.0, "seconds/validation": 10.0}
        for e, d in enumerate(dice, start=1)
    ]
    run.append("metrics.jsonl", rows)
    for epoch in range(1, len(dice) + 1):
        case_rows = [
            {"case": case, **dict(zip(regions, values, strict=True))}
            | ({f"{sized}_reference": et_voxels[case]} if et_voxels else {})
            for case, values in (cases or {}).items()
        ]
        if case_rows:
            run.append_cases(epoch, case_rows)
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
