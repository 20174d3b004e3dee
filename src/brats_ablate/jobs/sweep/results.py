"""The tables of a sweep: recorded when it starts, so that job=tables and job=report have them, and shown at its end."""

from __future__ import annotations

import contextlib
import os
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path

from omegaconf import DictConfig

from brats_ablate.config.locations import table_dirs
from brats_ablate.jobs.sweep.specs import sweep_specs, sweep_tables
from brats_ablate.launch.sweep import overfits_one_batch
from brats_ablate.runtime.files import write_text
from brats_ablate.tables.spec import TableSpec, load_table_specs, to_yaml

_OF_RESULTS = ("data", "labels", "paths")
"""Groups that a command about results needs as well."""


@contextlib.contextmanager
def tables_of(sweep: Sequence[DictConfig], hydra: DictConfig) -> Iterator[None]:
    """Record the tables of a sweep of training runs, and print them when the runs in the body have ended.

    Args:
        sweep: the composed runs.
        hydra: Hydra's own part of the sweep's configuration.
    """
    if int(os.environ.get("RANK", "0")) > 0 or overfits_one_batch(sweep[0]):
        yield
        return
    specs = sweep_specs(sweep, str(hydra.job.config_name))
    known = {spec.name for spec in load_table_specs(table_dirs(), None)}
    for spec in specs:
        if len(spec.columns) > 1 and spec.name not in known:
            write_text(sweep_tables(sweep[0]) / f"{spec.name}.yaml", to_yaml(spec))
    yield
    _show(sweep[0], specs, hydra)


def _show(cfg: DictConfig, specs: Sequence[TableSpec], hydra: DictConfig) -> None:
    """Print a summary of each table that has a finished run, where it was written, and the command for the report."""
    from rich.console import Console

    from brats_ablate.jobs.tables import results_of
    from brats_ablate.tables import terminal
    from brats_ablate.tables.summary import summary_tables
    from brats_ablate.tables.tabulate import tabulate
    from brats_ablate.tables.writers import write_tables

    console, out = Console(), Path(str(cfg.paths.tables))
    shown = [r for r in results_of(cfg, specs) if any(run.is_finished for c in r.columns for run in c.scores.runs)]
    for result in shown:
        write_tables(tabulate(result), out, [])
        console.print()
        terminal.show(summary_tables(result), console)
        console.print(f"the whole table as text, Markdown, CSV and LaTeX: {out / result.spec.name}.*", soft_wrap=True)
    if shown:
        console.print(f"figures: python -m brats_ablate {options_of_results(hydra)}job=report", soft_wrap=True)


def options_of_results(hydra: DictConfig) -> str:
    """Return the options of a sweep that a command about its results needs too, ready to be pasted into a shell."""
    data = str(hydra.runtime.choices.data)
    options = [o for o in hydra.overrides.task if o.partition("=")[0].lstrip("+~").split(".")[0] in _OF_RESULTS]
    if data != "brats21" and f"data={data}" not in options:
        options.insert(0, f"data={data}")
    return "".join(f"{shlex.quote(option)} " for option in options)
