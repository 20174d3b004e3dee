"""How the tracked runs of a sweep are uploaded or viewed, in one command for all of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from brats_ablate.runs.directory import RunDirectory
from brats_ablate.runtime.text import shell_quoted
from brats_ablate.tracking.tensorboard import FOLDER

_LATEST = "wandb/latest-run"
"""W&B's link to a run's last start, which logs again what earlier ones logged."""


def commands(runs: Sequence[RunDirectory]) -> list[str]:
    """Return the lines to print at the end of a sweep of `runs`: for W&B and for TensorBoard, if they have logs."""
    lines = []
    offline = sorted({run.path.parents[2] for run in runs if _is_offline(run.path)})
    if offline:
        paths = " ".join(f"{shell_quoted(str(experiment))}/fold=*/lr=*/seed=*/{_LATEST}" for experiment in offline)
        lines.append(f"W&B, offline; upload all runs with: wandb sync {paths}")
    if any((run.path / FOLDER).is_dir() for run in runs):
        lines.append(f"TensorBoard: tensorboard --logdir {shell_quoted(str(runs[0].path.parents[3]))}")
    return lines


def _is_offline(run: Path) -> bool:
    """Return whether the last start of a run was logged offline and is not uploaded yet; needs no wandb."""
    start = (run / _LATEST).resolve()
    return start.name.startswith("offline-run-") and start.is_dir() and not any(start.glob("*.wandb.synced"))
