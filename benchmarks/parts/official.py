"""All metrics of BraTS 2026: the command `brats-evaluate` and `job=evaluate metrics=brats2026`, both in one process."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from measuring import Comparison, Options, Row, Table, interleave
from peers import brats_evaluation

PEER, OURS = "brats-evaluation", "ours, metrics=brats2026"


def measure(options: Options) -> list[Table]:
    """Measure both commands on perturbed real cases: one table; none without real cases."""
    if options.cases is None:
        print("the part official needs real cases (--cases)", flush=True)
        return []
    environment = brats_evaluation.install(options.work / "brats-evaluation-env")
    with tempfile.TemporaryDirectory() as folder:
        work, references, predictions = Path(folder), Path(folder) / "references", Path(folder) / "predictions"
        brats_evaluation.write_inputs(options.cases, references, predictions, limit=1 if options.quick else 4)
        command = [
            *(
                sys.executable,
                "-m",
                "brats_ablate",
                "data=brats23",
                "job=evaluate",
                "metrics=brats2026",
                "job.workers=1",
            ),
            *(f"job.predictions={predictions}", f"job.references={references}", "job.name=bench"),
        ]

        def theirs() -> float:
            started = time.perf_counter()
            brats_evaluation.evaluate(environment, references, predictions, work)
            return time.perf_counter() - started

        def ours() -> float:
            started = time.perf_counter()
            paths = os.environ | {"BRATS_ABLATE_WORK": str(work / "work")}
            subprocess.run(command, env=paths, check=True, capture_output=True)
            return time.perf_counter() - started

        times = interleave({PEER: theirs, OURS: ours}, options.rounds, warm_up=False)
        count = len(list(predictions.iterdir()))
    rows = [Row(name, [seconds / count for seconds in values]) for name, values in times.items()]
    note = f"{count} predictions, whole command with start-up and reading, divided by their number."
    return [Table("All metrics of BraTS 2026, per case", "s", rows, [Comparison(PEER, OURS, PEER)], note=note)]
