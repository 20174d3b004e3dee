"""Measure the time of `job=status` on 1,000 run directories, start-up included.

    python benchmarks/status.py [--runs 1000] [--repeats 5]

The directories are those of an unfinished study: half of the runs are finished, the rest running, failed
or stopped, each with up to 1,000 epochs of metrics.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from brats_ablate.launch.submission import Submission, write_submission
from brats_ablate.runs.directory import FAILED, FINISHED, INTERRUPTED, RUNNING, Coordinates, RunDirectory, RunRecord

LIMIT_S = 2.0
_EPOCHS = 1000


def make(runs: Path, count: int) -> None:
    """Write `count` run directories below `runs`."""
    states = (FINISHED, FINISHED, FINISHED, RUNNING, FAILED, INTERRUPTED)
    losses = {f"loss/{name}": 0.123456 for name in ("bce", "dice")}
    for i in range(count):
        state = states[i % len(states)]
        name, fold, lr = f"experiment_{i // 15:03}", i % 5, (5e-4, 7e-4, 9e-4)[i // 5 % 3]
        run = RunDirectory.at(runs, Coordinates(name, fold, lr, 0))
        epochs = _EPOCHS if state == FINISHED else _EPOCHS // 3
        rows = [{"epoch": e + 1, "step": 500 * e, "loss": 0.2, **losses, "seconds": 175.0} for e in range(epochs)]
        run.path.mkdir(parents=True)
        (run.path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        (run.path / "lock").touch()
        write_submission(run.path, Submission("local", "999999", "/logs", 1, "elsewhere", "1"))
        run.write_status(RunRecord(state, epochs, _EPOCHS, 0.9, "the loss is not finite" if state == FAILED else None))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        make(Path(folder) / "runs", arguments.runs)
        command = [sys.executable, "-m", "brats_ablate", "job=status", f"paths.runs={folder}/runs"]
        seconds = []
        for _ in range(arguments.repeats):
            began = time.perf_counter()
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            seconds.append(time.perf_counter() - began)
        assert f"{arguments.runs} runs" in done.stdout
    middle = statistics.median(seconds)
    spread = f"{min(seconds):.2f} to {max(seconds):.2f} s"
    print(f"{arguments.runs} runs: median {middle:.2f} s, {spread} (limit {LIMIT_S} s)")
    return int(middle > LIMIT_S)


if __name__ == "__main__":
    sys.exit(main())
