"""Benchmark `job=tables` on a whole study: 12 experiments × 5 folds × 3 learning rates, 1,251 cases each.

    python benchmarks/tables.py [--epochs 300]

Writes 180 run directories as training would (every epoch validated) and times the job in its own process, including
start-up.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from brats_ablate.runs.case_table import case_lines
from brats_ablate.runs.directory import Coordinates, RunDirectory, RunRecord
from brats_ablate.runs.state import RunState

EXPERIMENTS = (
    "baseline unetr segresnet_vae attention ds residual dropblock focal ds_deeper ds_channels ds_onehot "
    "ds_deeper_channels_onehot"
)  # fmt: skip
CASES, FOLDS, RATES = 1251, 5, (5e-4, 7e-4, 9e-4)


def write_study(runs: Path, epochs: int) -> None:
    """Write 180 finished runs; the Dice of a case varies around a curve that rises with the epochs."""
    draw = np.random.default_rng(0)
    names = [f"BraTS2021_{i:05d}" for i in range(CASES)]
    dice = 1 - draw.beta(1.2, 9, size=(CASES, 3))
    for name in EXPERIMENTS.split():
        for fold in range(FOLDS):
            for lr in RATES:
                _write_run(
                    RunDirectory.at(runs, Coordinates(name, fold, lr, 0)),
                    names[fold::FOLDS],
                    dice[fold::FOLDS],
                    epochs,
                    draw,
                )


def _write_run(run: RunDirectory, names: list[str], dice: np.ndarray, epochs: int, draw: np.random.Generator) -> None:
    run.path.mkdir(parents=True)
    metrics, lines, listed = [], [], ""
    best = 0.0
    for epoch in range(1, epochs + 1):
        values = np.clip(dice * (1 - 0.3 / epoch) + draw.normal(0, 0.01, size=dice.shape), 0, 1)
        means = [float(v) for v in values.mean(axis=0)]
        scores = dict(zip(("dice/WT", "dice/TC", "dice/ET"), means, strict=True)) | {"dice": sum(means) / 3}
        best = max(best, scores["dice"])
        metrics.append(
            {"epoch": epoch, "step": 500 * epoch, "loss": 1.0 / epoch, "lr": 7e-4, **scores, "seconds": 175.0}
        )
        of_case = zip(names, values.astype("f4").tolist(), strict=True)
        rows = [{"case": case, "WT": wt, "TC": tc, "ET": et, "ET_reference": 900} for case, (wt, tc, et) in of_case]
        listed, scores_line = case_lines(epoch, rows)
        lines.append(scores_line)
    run.append("metrics.jsonl", metrics)
    (run.path / "cases.jsonl").write_text(listed + "".join(lines), encoding="utf-8")
    run.write_manifest({"parameters": 31_190_000, "identity": {}, "data_fingerprint": "a"})
    run.write_status(RunRecord(RunState.FINISHED, epochs, epochs, best))


def main() -> None:
    """Write the study, time the job and print the seconds."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--epochs", type=int, default=300, help="validated epochs per run")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--job", default="tables", choices=["tables", "report"])
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder) / "work"
        write_study(work / "brats21" / "runs", arguments.epochs)
        size = sum(f.stat().st_size for f in work.rglob("*") if f.is_file())
        seconds = []
        for _ in range(arguments.repeats):
            start = time.perf_counter()
            command = [sys.executable, "-m", "brats_ablate", f"job={arguments.job}"]
            subprocess.run(
                command, env=os.environ | {"BRATS_ABLATE_WORK": str(work)}, check=True, stdout=subprocess.DEVNULL
            )
            seconds.append(time.perf_counter() - start)
        print(f"180 runs × {arguments.epochs} validated epochs, {CASES} cases, {size / 2**20:.0f} MiB of records")
        print(f"job={arguments.job}: " + ", ".join(f"{s:.2f}" for s in seconds) + " s (the first call reads from disk)")
        for page in work.rglob("report.html"):
            print(f"report.html: {page.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
