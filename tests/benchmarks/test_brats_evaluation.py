"""`metrics=brats2026` against the challenge's own program, on real cases perturbed in six ways."""

from __future__ import annotations

import csv
import math
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from peers import brats_evaluation

ENVIRONMENT, REAL = "BRATS_ABLATE_BRATS_EVALUATION", "BRATS_ABLATE_REAL_CASES"

pytestmark = [
    pytest.mark.real,
    pytest.mark.slow(minutes=4),
    pytest.mark.skipif(REAL not in os.environ, reason=f"{REAL} is not set"),
    pytest.mark.skipif(ENVIRONMENT not in os.environ, reason=f"{ENVIRONMENT} is not set: see benchmarks/peers"),
]


def test_every_official_number(
    brats_ablate: Callable[..., subprocess.CompletedProcess[str]], work: Path, tmp_path: Path
) -> None:
    references, predictions = tmp_path / "references", tmp_path / "predictions"
    brats_evaluation.write_inputs(Path(os.environ[REAL]), references, predictions, limit=3)
    done = brats_ablate(
        *("job=evaluate", "job.name=ours", "metrics=brats2026", "job.workers=1"),
        *(f"job.predictions={predictions}", "job.prediction_labels=brats2023"),
        *(f"job.references={references}", "job.reference_labels=brats2023"),
    )
    assert done.returncode == 0, done.stdout
    with (work / "phantom" / "evaluation" / "ours.csv").open() as stream:
        rows = {(r["case"], r["region"], r["metric"]): float(r["value"] or "nan") for r in csv.DictReader(stream)}
    table = brats_evaluation.evaluate(Path(os.environ[ENVIRONMENT]), references, predictions, tmp_path)
    expected = brats_evaluation.read(table)
    assert len({case for case, *_ in expected}) == len(list(predictions.iterdir())) >= 12
    assert sum(map(math.isnan, expected.values())) > 0  # a region that both lack
    wrong = {
        key: (rows[key], value)
        for key, value in expected.items()
        if rows[key] != pytest.approx(value, abs=1e-6, rel=0, nan_ok=True)
    }
    assert not wrong
