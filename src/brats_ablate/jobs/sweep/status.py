"""`job=status`: status of every run; with a sweep (`-cd sweeps -cn table2 job=status`) also of those to start."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from omegaconf import DictConfig

from brats_ablate.launch.status import RunStatus, collect_statuses, format_status_grid
from brats_ablate.launch.sweep import run_directory
from brats_ablate.runs.directory import find_runs
from brats_ablate.runs.disk import files_of_run
from brats_ablate.runtime.files import to_json, write_json
from brats_ablate.runtime.text import format_size


def run(cfg: DictConfig, watch: float, json: str | None, sweep: list[DictConfig] | None = None) -> None:
    """Print the grid experiment × learning rate × fold: of all runs, or of those of `sweep` only.

    `watch` is the time in seconds between refreshes, until Ctrl-C; 0 prints once. `json` is a file to write the
    statuses to; "-" prints JSON instead of the grid.
    """
    runs = Path(str(cfg.paths.runs)).absolute()
    while True:
        statuses = collect_statuses([run_directory(each) for each in sweep] if sweep else find_runs(runs))
        if watch > 0 and sys.stdout.isatty():
            print("\x1b[H\x1b[2J", end="")
        _print(statuses, json, runs)
        if watch <= 0:
            return
        try:
            time.sleep(watch)
        except KeyboardInterrupt:
            return


def _disk_use(runs: Iterable[Path]) -> dict[str, int]:
    """Return the bytes of the runs' checkpoints and of their records."""
    sizes = {"checkpoints": 0, "records": 0}
    for file in (file for run in runs for file in files_of_run(run)):
        sizes["checkpoints" if file.path.endswith(".pt") else "records"] += file.size
    return sizes


def _print(statuses: Sequence[RunStatus], json: str | None, runs: Path) -> None:
    disk = _disk_use(Path(status.path) for status in statuses)
    content = {"runs": [status.as_dict() for status in statuses], "bytes": disk}
    if json == "-":
        print(to_json(content, indent=1), flush=True)
        return
    print(format_status_grid(statuses) if statuses else f"no runs in {runs}", flush=True)
    if statuses:
        parts = ", ".join(f"{format_size(size)} of {kind}" for kind, size in disk.items())
        print(f"disk: {parts}; job=clean lists what finished runs do not need", flush=True)
    if json is not None:
        write_json(Path(json), content)
