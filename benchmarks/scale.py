"""Benchmark the jobs that read a whole study on 10,000 run directories of 250 validation cases each.

    python benchmarks/scale.py [--columns 40] [--rates 10] [--seeds 5] [--jobs status tables report plan] [--folder FOLDER]

40 columns × 5 folds × 10 learning rates × 5 seeds, all finished after 200 epochs, every second of which was validated:
the ten epochs under test are the last tenth. Prints wall time and peak memory of each command, its start included, and
the size of the study's files. With `--folder`, the study is kept there and used again.
"""

from __future__ import annotations

import argparse
import itertools
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from hydra import compose, initialize_config_dir

from brats_ablate.config.check import resolve
from brats_ablate.config.locations import resource_dir
from brats_ablate.runs.directory import Coordinates, RunDirectory, RunRecord
from brats_ablate.runs.identity import identity
from brats_ablate.runs.state import RunState

FOLDS, CASES, EPOCHS, VALIDATE_EVERY = 5, 250, 200, 2
REGIONS = ("WT", "TC", "ET")
EARLY = 180
"""The epochs before the tested ones; the runs of a column and fold share their scores, which no table reads."""
JOBS = {
    "status": ["job=status"],
    "tables": ["job=tables", "job.tables=[trained]"],
    "report": ["job=report", "job.tables=[trained]"],
    "plan": ["job=plan", "job.detect=0.001", "job.tables=[trained]", "job.sweeps=${paths.work}"],
}


def write_study(runs: Path, columns: int, rates: int, seeds: int) -> None:
    """Write finished runs below `runs`."""
    repeats = list(itertools.product([round(1e-4 * (1 + i), 5) for i in range(rates)], range(seeds)))
    with initialize_config_dir(str(resource_dir("conf").resolve()), version_base="1.3"):
        settings = identity(resolve(compose("config")))
    manifest = {
        "identity": settings, "parameters": 31_190_000, "gflops": 900.0, "world_size": 1, "data_fingerprint": "a" * 64,
        "precision": "bf16", "hardware": "GPU", "code_version": "0.2.0", "packages": {"torch": "2.10.0", "monai": "1.5"},
    }  # fmt: skip
    with ProcessPoolExecutor() as workers:
        list(workers.map(partial(_write_column, runs, manifest, repeats), range(columns)))


def _write_column(runs: Path, manifest: dict[str, Any], repeats: list[tuple[float, int]], column: int) -> None:
    """Write the runs of one column; columns and runs differ by little, as in a real study."""
    os.fsync = lambda _: None  # type: ignore[assignment]  # a million of them take an hour
    draw = np.random.default_rng(0)
    cases = [f"BraTS2021_{i:05d}" for i in range(CASES * FOLDS)]
    difficulty = 1 - draw.beta(1.2, 9, size=(CASES * FOLDS, len(REGIONS)))
    voxels = draw.integers(0, 40_000, size=CASES * FOLDS).tolist()
    draw = np.random.default_rng(column + 1)
    name = f"column_{column:02d}" if column else "baseline"
    own = manifest | {"experiment": name, "identity": manifest["identity"] | {"loss.weight": column}}
    for fold in range(FOLDS):
        early: dict[int, dict[str, float]] = {}
        first: RunDirectory | None = None
        for lr, seed in repeats:
            run = RunDirectory.at(runs, Coordinates(name, fold, lr, seed))
            run.path.mkdir(parents=True)
            if first is not None:
                (run.path / "cases.jsonl").write_bytes(_early_lines(first))
            shown = difficulty[fold::FOLDS] + draw.normal(1e-4 * column, 1e-3)
            _write_run(run, cases[fold::FOLDS], shown, voxels[fold::FOLDS], draw, early)
            run.write_manifest(own | {"fold": fold, "lr": lr, "seed": seed})
            first = first or run


def _early_lines(run: RunDirectory) -> bytes:
    content = (run.path / "cases.jsonl").read_bytes()
    return content[: content.index(b'{"epoch": %d' % (EARLY + VALIDATE_EVERY))]


def _write_run(
    run: RunDirectory,
    cases: list[str],
    difficulty: np.ndarray,
    voxels: list[int],
    draw: np.random.Generator,
    early: dict[int, dict[str, float]],
) -> None:
    """Write a run; `early` are the mean Dice of the epochs that its file of cases has already."""
    metrics, best = [], 0.0
    for epoch in range(1, EPOCHS + 1):
        a, b, c, d, e, f, g, h, i = draw.random(9).tolist()
        row = {
            "epoch": epoch,
            "step": 500 * epoch,
            "loss": 1.0 / epoch + a,
            "grad_norm": b,
            "loss/bce": c,
            "loss/dice": d,
        }
        row |= {"lr": 7e-4 * e, "patches_per_second": f, "peak_memory_bytes": 9_000_000_000}
        row |= {"seconds/data": g, "seconds/forward": h, "seconds/backward": i, "seconds/optimizer": i}
        if epoch % VALIDATE_EVERY == 0:
            means = early.get(epoch)
            if means is None:
                noise = 0.01 * draw.standard_normal(difficulty.shape, dtype=np.float32)
                dice = np.clip(difficulty * (1 - 0.3 / epoch) + noise, 0, 1).astype(np.float32)
                of_case = zip(cases, voxels, dice.tolist(), strict=True)
                run.append_cases(
                    epoch, [{"case": c, **dict(zip(REGIONS, d, strict=True)), "ET_reference": v} for c, v, d in of_case]
                )
                of_region = dice.mean(axis=0, dtype=float).tolist()
                means = {
                    "dice": sum(of_region) / 3,
                    **{f"dice/{r}": m for r, m in zip(REGIONS, of_region, strict=True)},
                }
                if epoch <= EARLY:
                    early[epoch] = means
            row |= means | {"seconds/validation": 20 * a}
            best = max(best, means["dice"])
        metrics.append(row | {"seconds": 200.0})
    run.append("metrics.jsonl", metrics)
    (run.path / "lock").touch()
    run.write_status(RunRecord(RunState.FINISHED, EPOCHS, EPOCHS, best))


def measure(arguments: list[str], work: Path) -> tuple[float, float, float]:
    """Run a command in a process of its own; return wall time and processor time in seconds, and peak memory in GiB."""
    start = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "brats_ablate", *arguments, f"paths.work={work}/brats21"], stdout=subprocess.DEVNULL
    )
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, arguments)
    return time.perf_counter() - start, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 2**20


def main() -> None:
    """Write the study, unless it is there, and measure each job."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--columns", type=int, default=40, help="each with 5 folds")
    parser.add_argument("--rates", type=int, default=10, help="learning rates of a fold")
    parser.add_argument("--seeds", type=int, default=5, help="runs of a learning rate")
    parser.add_argument("--jobs", nargs="*", choices=JOBS, default=list(JOBS))
    parser.add_argument("--folder", type=Path, help="keep the study here")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        work = (arguments.folder or Path(temporary)).resolve()
        runs = work / "brats21" / "runs"
        if not runs.exists():
            os.environ.setdefault("BRATS_ABLATE_WORK", str(work))
            write_study(runs, arguments.columns, arguments.rates, arguments.seeds)
        files = list(next(runs.glob("*/fold=0/lr=*/seed=0")).glob("*.json*"))
        sizes = ", ".join(f"{file.name} {file.stat().st_size / 1e3:,.0f} kB" for file in sorted(files))
        print(f"{sum(1 for _ in runs.glob('*/fold=*/lr=*/seed=*')):,} runs, each: {sizes}")
        for job in arguments.jobs:
            seconds, busy, peak = measure(JOBS[job], work)
            print(f"job={job}: {seconds:.1f} s ({busy:.1f} s of a processor), {peak:.2f} GiB", flush=True)
        report = work / "brats21" / "tables" / "report.html"
        if report.exists():
            print(f"report.html: {report.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
