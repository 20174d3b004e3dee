"""Run time of commands that need no network: help, a composed configuration, a mistyped key, status, tables.

Each command runs in its own process, and once more to check that it imports no deep-learning library.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from brats_ablate.runs.directory import Coordinates, RunDirectory, RunRecord
from brats_ablate.runs.state import RunState
from measuring import Options, Row, Table, interleave

HEAVY = ("torch", "monai", "wandb")
COMMANDS = {
    "--help": (["--help"], 0),
    "--cfg job": (["--cfg", "job"], 0),
    "job=status": (["job=status"], 0),
    "job=tables": (["job=tables", "job.tables=[table1]"], 0),
    "a mistyped key": (["lrr=1"], 2),
}
"""Arguments and expected exit code of each command."""

_PROBE = """
import runpy, sys
sys.argv = ["brats_ablate", *sys.argv[1:]]
try:
    runpy.run_module("brats_ablate", run_name="__main__", alter_sys=True)
except SystemExit:
    pass
finally:
    print("HEAVY", *(name for name in {heavy!r} if name in sys.modules), file=sys.stderr)
"""


def measure(options: Options) -> list[Table]:
    """Measure the commands: one table."""
    work = options.work / "startup"
    write_runs(work / "brats21" / "runs")
    candidates = {name: _timed(arguments, code, work) for name, (arguments, code) in COMMANDS.items()}
    times = interleave(candidates, options.rounds)
    rows = []
    for name, values in times.items():
        heavy = heavy_imports(COMMANDS[name][0], work)
        rows.append(Row(name, values, {"deep-learning imports": ", ".join(heavy) or "none"}))
    note = f"`status` and `tables` read {_RUNS} finished runs of 20 validated epochs."
    return [Table("Short commands, including start-up", "s", rows, note=note)]


_RUNS = 25


def write_runs(runs: Path) -> None:
    """Write finished runs of five experiments on five folds."""
    for name in ("baseline", "unetr", "segresnet_vae", "attention", "ds"):
        for fold in range(5):
            run = RunDirectory.at(runs, Coordinates(name, fold, 7e-4, 0))
            if run.status() is not None:
                continue
            run.path.mkdir(parents=True, exist_ok=True)
            scores = {"dice": 0.9, "dice/WT": 0.92, "dice/TC": 0.91, "dice/ET": 0.87}
            run.append("metrics.jsonl", [{"epoch": e, "step": 500 * e, "loss": 0.2, **scores} for e in range(1, 21)])
            cases = [
                {"epoch": 20, "case": f"case{fold}{i:03d}", "WT": 0.92, "TC": 0.91, "ET": 0.87} for i in range(250)
            ]
            run.append("cases.jsonl", cases)
            run.write_manifest({"parameters": 31_190_000, "identity": {}, "data_fingerprint": "a"})
            run.write_status(RunRecord(RunState.FINISHED, 20, 20, 0.9))


def heavy_imports(arguments: list[str], work: Path) -> list[str]:
    """Which of `HEAVY` a command imports."""
    done = _run([sys.executable, "-c", _PROBE.format(heavy=HEAVY), *arguments], work)
    return done.stderr.split("HEAVY")[-1].split()


def _timed(arguments: list[str], code: int, work: Path) -> Callable[[], float]:
    def measured() -> float:
        started = time.perf_counter()
        done = _run([sys.executable, "-m", "brats_ablate", *arguments], work)
        elapsed = time.perf_counter() - started
        if done.returncode != code:
            raise RuntimeError(f"{arguments} ended with {done.returncode}: {done.stderr[-2000:]}")
        return elapsed

    return measured


def _run(command: list[str], work: Path) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"BRATS_ABLATE_WORK": str(work.resolve())}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
