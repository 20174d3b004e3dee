"""`job=plan job.detect=0.001`: the training runs that decide the open columns of the tables, as a sweep file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from brats_ablate.config.command import options_of_data, options_of_grid, own_options, shell_command
from brats_ablate.config.locations import option_files, own_config_dir
from brats_ablate.jobs.report import training_commands
from brats_ablate.jobs.tables import results_of, table_specs
from brats_ablate.runtime.files import write_text
from brats_ablate.tables.next_runs import NextRuns, next_runs


def run(cfg: DictConfig, *, detect: float, tables: list[str] | None, sweeps: str) -> None:
    """Print what every column needs, and write a sweep file for each table with an open column.

    A table with runs that no experiment describes has commands instead.

    Raises:
        ConfigError: a table does not exist.
    """
    # A column whose interval lies within ± detect is decided for this purpose.
    results = results_of(cfg, table_specs(cfg, tables), rope=detect)
    shown = [result for result in results if result.has_any and result.comparisons]
    if not shown:
        print(f"no run under {cfg.paths.runs} to plan from; train some first, e.g. with -cd sweeps -cn table2")
        return
    from rich.console import Console

    from brats_ablate.tables import terminal

    console = Console()
    for result in shown:
        planned = next_runs(result, detect)
        terminal.show([planned.summary], console)
        if not planned.missing:
            continue
        hours = "" if planned.device_hours is None else f", about {planned.device_hours:,.1f} {planned.unit}"
        if not set(planned.experiments) <= option_files("experiment").keys():
            console.print(f"{planned.missing} training runs{hours}:")
            for line in _commands(planned, training_commands([result], options_of_data(cfg), planned.rates)):
                console.print(line, soft_wrap=True, highlight=False, markup=False)
            continue
        file = Path(sweeps) / f"{planned.table}_next.yaml"
        base, options = str(HydraConfig.get().job.config_name or "config"), options_of_grid()
        if base == file.stem:  # the plan of an earlier plan: start from what that one started from
            earlier = OmegaConf.load(file)
            base, searchpath = str(earlier.defaults[0]), list(earlier.hydra.get("searchpath") or [])
        else:
            own = own_options() if base == "config" else own_config_dir()  # which has the file of that name
            searchpath = [] if own is None else [f"file://{own}"]
        write_text(file, sweep_file(planned, detect, base, options, searchpath))
        command = shell_command("-cd", sweeps, "-cn", file.stem)
        console.print(f"{planned.missing} training runs{hours}: {command}\n", soft_wrap=True)


def _commands(planned: NextRuns, of_experiments: Mapping[str, str]) -> list[str]:
    """Return the commands that train the grid of `planned` where it has other runs than those of experiments.

    A grid or a design named them, and no sweep over experiments composes them.

    Args:
        planned: what to train.
        of_experiments: the commands that trained them, without folds and seeds.
    """
    folds, seeds = (",".join(map(str, values)) for values in (planned.folds, planned.seeds))
    return [f"{of_experiments[name]} fold={folds} seed={seeds} -m" for name in planned.experiments]


def sweep_file(planned: NextRuns, detect: float, base: str, options: Sequence[str], searchpath: Sequence[str]) -> str:
    """Return a sweep as YAML that trains the grid of `planned`.

    Args:
        planned: what to train.
        detect: the difference that it was planned for.
        base: the configuration that the sweep starts from.
        options: those of the command line that every run needs, as key=value or ~key.
        searchpath: folders with `base` and the options of groups, as URLs.
    """
    grid = {
        "+experiment": ",".join(planned.experiments),
        "fold": ",".join(map(str, planned.folds)),
        "lr": ",".join(f"{rate!r}" for rate in planned.rates),
        "seed": ",".join(map(str, planned.seeds)),
    }
    typed = (option.partition("=") for option in options)
    params = {key: value if equals else "null" for key, equals, value in typed} | grid  # ~key=null deletes, too
    hydra: dict[str, Any] = {"mode": "MULTIRUN", "sweeper": {"params": params}}
    if searchpath:  # -cd names the folder of the sweep then
        hydra["searchpath"] = list(searchpath)
    body = {"defaults": [base, "_self_"], "hydra": hydra}
    head = (
        f"# Decides the open columns of {planned.table} down to a difference of {detect:g}: {planned.missing} runs to "
        "train; finished ones are skipped.\n"
    )
    return head + OmegaConf.to_yaml(OmegaConf.create(body))
