"""The share of a training epoch in which the device waits for data: reading, transport and augmentation together.

`job=train` itself, as a user starts it, on the baseline; its own timer measures (`training/timer.py`). On a CPU
the share is no waiting but work, as one device does everything.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from brats_ablate.runs.directory import find_runs
from material import Material
from measuring import Options, Row, Table

PHASES = ("data", "forward", "backward", "optimizer")
IDLE_LIMIT = 0.03


def measure(options: Options) -> list[Table]:
    """The share of each phase in every epoch but the first."""
    import torch

    on_gpu = torch.cuda.is_available()
    material = Material(options)
    runs = options.work.resolve() / "pipeline"
    shutil.rmtree(runs, ignore_errors=True)
    crops = (2 if options.quick else 100) if on_gpu or options.quick else 4
    subprocess.run([*_command(material, runs, crops), *_smaller(on_gpu, options.quick)], check=True)
    rows = find_runs(runs)[0].metrics()[1:]
    total = [sum(row[f"seconds/{phase}"] for phase in PHASES) for row in rows]
    shares = {
        phase: [100 * row[f"seconds/{phase}"] / t for row, t in zip(rows, total, strict=True)] for phase in PHASES
    }
    speed = ", ".join(f"{row['patches_per_second']:.3g}" for row in rows)
    limit = f"The data share is the device's idle time; its limit is {100 * IDLE_LIMIT:g} %. " if on_gpu else ""
    where = "GPU" if on_gpu else "CPU, width 0.25" + (", small patches" if options.quick else "")
    return [
        Table(
            f"Where an epoch of training goes, baseline, {where}",
            "%",
            [Row(phase, values) for phase, values in shares.items()],
            note=f"{limit}{speed} patches a second.",
        )
    ]


def _command(material: Material, runs: Path, crops: int) -> list[str]:
    return [
        sys.executable,
        "-m",
        "brats_ablate",
        "+experiment=baseline",
        f"paths.prepared={material.store.folder.resolve()}",
        f"paths.runs={runs}",
        "trainer.epochs=3",
        "trainer.validate_every=3",
        f"trainer.crops_per_case={crops}",
        "inference=whole_volume",
    ]


def _smaller(on_gpu: bool, quick: bool) -> list[str]:
    smaller = [] if on_gpu else ["encoder.width=0.25", "trainer.batch_size=1"]
    return [*smaller, "patches.shape=[64,64,64]"] if quick else smaller
