"""Time breakdown of a training epoch: data (reading, transfer and augmentation), forward, backward and optimizer.

Runs `job=train` on the baseline and reads the times that it records (`training/timer.py`). On a GPU, the data share is
its idle time and the augmentation. On a CPU it is work, because one device does everything.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from brats_ablate.runs.directory import find_runs
from dataset import Dataset
from measuring import Options, Row, Table

PHASES = ("data", "forward", "backward", "optimizer")


def measure(options: Options) -> list[Table]:
    """Measure the share of each phase in every epoch but the first: one table."""
    import torch

    on_gpu = torch.cuda.is_available()
    dataset = Dataset(options)
    runs = options.work.resolve() / "pipeline"
    shutil.rmtree(runs, ignore_errors=True)
    crops = (2 if options.quick else 100) if on_gpu or options.quick else 4
    subprocess.run([*_command(dataset, runs, crops), *_smaller(on_gpu, options.quick)], check=True)
    rows = find_runs(runs)[0].metrics()[1:]
    total = [sum(row[f"seconds/{phase}"] for phase in PHASES) for row in rows]
    shares = {
        phase: [100 * row[f"seconds/{phase}"] / t for row, t in zip(rows, total, strict=True)] for phase in PHASES
    }
    speed = ", ".join(f"{row['patches_per_second']:.3g}" for row in rows)
    idle = "The data share is the time in which the device is idle or augments. " if on_gpu else ""
    where = "GPU" if on_gpu else "CPU, width 0.25" + (", small patches" if options.quick else "")
    return [
        Table(
            f"Time breakdown of a training epoch, baseline, {where}",
            "%",
            [Row(phase, values) for phase, values in shares.items()],
            note=f"{idle}{speed} patches per second.",
        )
    ]


def _command(dataset: Dataset, runs: Path, crops: int) -> list[str]:
    return [
        sys.executable,
        "-m",
        "brats_ablate",
        "+experiment=baseline",
        f"paths.prepared={dataset.store.folder.resolve()}",
        f"paths.runs={runs}",
        "trainer.epochs=3",
        "validation.every=3",
        f"trainer.crops_per_case={crops}",
        "inference=whole_volume",
    ]


def _smaller(on_gpu: bool, quick: bool) -> list[str]:
    smaller = [] if on_gpu else ["encoder.width=0.25", "trainer.batch_size=1"]
    return [*smaller, "patches.shape=[64,64,64]"] if quick else smaller
