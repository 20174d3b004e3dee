"""`job=status`: status of every run; with a sweep (`-cd sweeps -cn table2 job=status`) also of those to start."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from omegaconf import DictConfig

from brats_ablate.jobs.sweep.time_left import seconds_left
from brats_ablate.launch.status import RunStatus, collect_statuses, format_status_grid
from brats_ablate.launch.sweep import by_data_set, run_directory
from brats_ablate.runs.directory import find_runs
from brats_ablate.runs.disk import files_of_run
from brats_ablate.runtime.files import to_json, write_json
from brats_ablate.runtime.output import is_read
from brats_ablate.runtime.text import format_size

Grid = Callable[[Sequence[RunStatus]], str]
"""Returns the statuses as text."""


def run(cfg: DictConfig, watch: float, json: str | None, sweep: list[DictConfig] | None = None) -> None:
    """Print the grid experiment × learning rate × fold: of all runs, or of those of `sweep` only, by data set.

    `watch` is the time in seconds between refreshes, until Ctrl-C or until nobody reads them; 0 prints once. `json` is
    a file to write the statuses to; "-" prints JSON instead of the grid.
    """
    runs = Path(str(cfg.paths.runs)).absolute()
    data_sets = {
        _folder(run_directory(each).path): name for name, of in by_data_set(sweep or []).items() for each in of
    }

    def grid(statuses: Sequence[RunStatus]) -> str:
        if not statuses:
            return f"no runs in {runs}"
        if len(data_sets) < 2:
            return format_status_grid(statuses)
        of_each = {name: [s for s in statuses if _folder(Path(s.path)) == path] for path, name in data_sets.items()}
        return "\n\n".join(f"{name}\n{format_status_grid(each)}" for name, each in of_each.items())

    def collect() -> list[RunStatus]:
        return collect_statuses([run_directory(each) for each in sweep] if sweep else find_runs(runs), seconds_left)

    if watch <= 0:
        _print(collect(), json, grid)
        return
    with contextlib.suppress(KeyboardInterrupt):
        if json != "-" and sys.stdout.isatty():
            _show_live(collect, watch, json, grid)
        while is_read():
            _print(collect(), json, grid)
            time.sleep(watch)


def _show_live(collect: Callable[[], Sequence[RunStatus]], watch: float, json: str | None, grid: Grid) -> None:
    """Refresh the grid in place while it is read, until Ctrl-C; of one taller than the terminal, the end is shown."""
    from rich.live import Live
    from rich.text import Text

    with Live(auto_refresh=False, vertical_overflow="visible") as live:
        while is_read():
            statuses = collect()
            heading = f"{time.strftime('%H:%M:%S')}, refreshed every {watch:g} s until Ctrl-C\n\n"
            live.update(Text(heading + grid(statuses)), refresh=True)
            if json is not None:
                _write(statuses, _disk_use(statuses), json)
            time.sleep(watch)


def _folder(run: Path) -> Path:
    """Return the folder of all runs of a data set, by the directory of one."""
    return run.parents[3]


def _disk_use(statuses: Iterable[RunStatus]) -> dict[str, int]:
    """Return the bytes of the runs' checkpoints and of their records."""
    sizes = {"checkpoints": 0, "records": 0}
    for file in (file for status in statuses for file in files_of_run(Path(status.path))):
        sizes["checkpoints" if file.path.endswith(".pt") else "records"] += file.size
    return sizes


def _print(statuses: Sequence[RunStatus], json: str | None, grid: Grid) -> None:
    disk = _disk_use(statuses)
    if json != "-":
        print(grid(statuses), flush=True)
    if statuses and json != "-":
        parts = ", ".join(f"{format_size(size)} of {kind}" for kind, size in disk.items())
        print(f"disk: {parts}; job=clean lists what finished runs do not need", flush=True)
    if json is not None:
        _write(statuses, disk, json)


def _write(statuses: Sequence[RunStatus], disk: dict[str, int], json: str) -> None:
    content = {"runs": [status.as_dict() for status in statuses], "bytes": disk}
    if json == "-":
        print(to_json(content, indent=1), flush=True)
    else:
        write_json(Path(json), content)
