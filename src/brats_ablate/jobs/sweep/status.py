"""`job=status`: where runs stand; with a sweep (`-cd sweeps -cn table2 job=status`) also those not yet started."""

from __future__ import annotations

import json as json_format
import sys
import time
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from brats_ablate.launch.status import RunStatus, collect_statuses, format_status_grid
from brats_ablate.launch.sweep import run_directory
from brats_ablate.runs.directory import find_runs, write_json


def run(cfg: DictConfig, watch: float, json: str | None, sweep: list[DictConfig] | None = None, ranks: int = 1) -> None:
    """Print the grid experiment × learning rate × fold.

    Args:
        watch: seconds between refreshes, until Ctrl-C; 0 prints once.
        json: a file to write the same facts to as JSON; "-" prints JSON instead of the grid.
        sweep: the configurations of a sweep, to show its runs only.
        ranks: processes per run under the launcher; of no interest here.
    """
    runs = Path(str(cfg.paths.runs)).absolute()
    while True:
        found = collect_statuses([run_directory(each) for each in sweep] if sweep else find_runs(runs))
        if watch > 0 and sys.stdout.isatty():
            print("\x1b[H\x1b[2J", end="")
        _show(found, json, runs)
        if watch <= 0:
            return
        try:
            time.sleep(watch)
        except KeyboardInterrupt:
            return


def _show(found: list[RunStatus], json: str | None, runs: Path) -> None:
    facts: dict[str, Any] = {"runs": [s.as_dict() for s in found]}
    if json == "-":
        print(json_format.dumps(facts, indent=1), flush=True)
        return
    print(format_status_grid(found) if found else f"no runs in {runs}", flush=True)
    if json is not None:
        write_json(Path(json), facts)
