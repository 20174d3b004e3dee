"""The tables of a sweep: recorded when it starts, so that job=tables and job=report have them, and shown at its end."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from omegaconf import DictConfig

from brats_ablate.config.command import options_of_data, options_of_sweep, shell_command
from brats_ablate.config.locations import table_dirs
from brats_ablate.errors import UserError
from brats_ablate.jobs.sweep.specs import sweep_specs, sweep_tables
from brats_ablate.launch.sweep import overfits_one_batch, run_directory
from brats_ablate.runs.directory import RunDirectory
from brats_ablate.runtime.files import write_text
from brats_ablate.runtime.output import print_message
from brats_ablate.runtime.ranks import rank
from brats_ablate.tables.spec import TableSpec, load_table_specs, to_yaml

_MOST_SENTENCES = 4
"""Where there are more comparisons, the column of verdicts reads faster."""


@contextlib.contextmanager
def tables_of(sweep: Sequence[DictConfig], hydra: DictConfig) -> Iterator[None]:
    """Record the tables of a sweep of training runs, and print them when the runs in the body have ended.

    Args:
        sweep: the composed runs, of one or several data sets, each of which has its own tables.
        hydra: Hydra's own part of the sweep's configuration.
    """
    if rank() > 0 or overfits_one_batch(sweep[0]):
        yield
        return
    by_folder: dict[Path, list[DictConfig]] = {}
    for cfg in sweep:
        by_folder.setdefault(sweep_tables(cfg), []).append(cfg)
    with contextlib.ExitStack() as stack:
        for runs in reversed(by_folder.values()):  # the last one entered prints first
            heading = f"Results of {runs[0].data.name}" if len(by_folder) > 1 else ""
            stack.enter_context(_tables_of_data_set(runs, hydra, heading))
        yield


@contextlib.contextmanager
def _tables_of_data_set(sweep: Sequence[DictConfig], hydra: DictConfig, heading: str) -> Iterator[None]:
    specs = sweep_specs(sweep, str(hydra.job.config_name))
    known = {spec.name for spec in load_table_specs(table_dirs(), None)}
    for spec in specs:
        if len(spec.columns) > 1 and spec.name not in known:
            write_text(sweep_tables(sweep[0]) / f"{spec.name}.yaml", to_yaml(spec))
    yield
    try:
        _show(sweep, specs, heading)
    except UserError as error:  # the runs are trained, whatever one of their neighbors looks like
        print_message(f"no table of this sweep: {error}")


def _show(sweep: Sequence[DictConfig], specs: Sequence[TableSpec], heading: str) -> None:
    """Print a summary of each table that has a finished run, where it was written, and the next command."""
    from rich.console import Console

    from brats_ablate.jobs.tables import results_of
    from brats_ablate.tables import terminal
    from brats_ablate.tables.differences import verdict_numbers, verdict_sentence
    from brats_ablate.tables.summary import summary_tables
    from brats_ablate.tables.tabulate import all_tables
    from brats_ablate.tables.writers import write_tables

    cfg = sweep[0]
    console, out = Console(), Path(str(cfg.paths.tables))
    shown = [r for r in results_of(cfg, specs) if any(run.is_finished for c in r.columns for run in c.scores.runs)]
    if shown and heading:
        console.print(f"\n{heading}", style="bold", highlight=False, markup=False)
    for result in shown:
        write_tables(all_tables(result), out)
        console.print()
        terminal.show(summary_tables(result), console)
        if len(result.comparisons) <= _MOST_SENTENCES:
            for c in result.comparisons:
                sentence = f"{verdict_sentence(result, c)} {verdict_numbers(result, c)}".strip()
                console.print(f"- {sentence}", soft_wrap=True, highlight=False, markup=False)
        console.print(f"the whole table as text, Markdown, CSV and LaTeX: {out / result.spec.name}.*", soft_wrap=True)
    if shown:
        console.print(f"next: {next_command(sweep)}", soft_wrap=True, highlight=False)


def next_command(sweep: Sequence[DictConfig]) -> str:
    """Return the command that trains the baseline if the sweep has runs without theirs, else that of the report."""
    cfg = sweep[0]
    runs, swept = Path(str(cfg.paths.runs)), {str(each.name) for each in sweep}
    absent = {
        str(each.about.baseline)
        for each in sweep
        if each.about.baseline
        and str(each.about.baseline) not in swept
        and not RunDirectory.at(runs, replace(run_directory(each).coordinates, name=each.about.baseline)).is_finished()
    }
    if len(absent) == 1 and (grid := options_of_sweep(cfg)) is not None:
        return shell_command(f"+experiment={absent.pop()}", *grid, "-m")
    of_runs = [options_of_data(each) for each in sweep]
    common = [option for option in of_runs[0] if all(option in options for options in of_runs)]
    return shell_command(*common, "job=report")
