"""job=tables: run directories → the ablation tables, as Markdown, CSV, LaTeX and in the terminal. Imports no torch.

With tracker=wandb they are also logged as W&B Tables, always by the same W&B run.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from brats_ablate.config.locations import table_dirs
from brats_ablate.errors import ConfigError, Unreadable
from brats_ablate.jobs.build import build_scheme, instantiate
from brats_ablate.jobs.prepared_data import folds_and_patients
from brats_ablate.jobs.sweep.specs import sweep_specs, sweep_tables
from brats_ablate.launch.sweep import by_data_set, other_settings, run_directory
from brats_ablate.runtime.output import print_message
from brats_ablate.runtime.text import counted, suggest
from brats_ablate.tracking.base import RunInfo
from brats_ablate.tracking.guarded import GuardedTracker

if TYPE_CHECKING:
    from pandas import DataFrame

    from brats_ablate.runs.directory import RunDirectory
    from brats_ablate.tables.build import TableResult
    from brats_ablate.tables.spec import TableSpec
    from brats_ablate.tables.table import Table

_RANKING_FILES = ("ranking", "ranking_pairs")
"""Files of job=rank in the folder of the evaluations."""
_FEWEST_DRAWS = 1_000
_MANY_RUNS = 2_000
"""More are read by several processes, which take a second to start."""


def run(
    cfg: DictConfig,
    *,
    tables: list[str] | None,
    baseline: str | None,
    intervals: bool,
    resamples: int,
    seed: int,
    rope: float,
    paper: bool | None = None,
    sweep: list[DictConfig] | None = None,
) -> None:
    """Write every table that has runs into `paths.tables`, print it, and log it to the tracker.

    With a `sweep`, and unless `tables` names others, that is the table of the sweep, one for each data set.

    Raises:
        ConfigError: a table that does not exist or whose file is wrong, or a baseline that is not a column.
    """
    data_sets = by_data_set(sweep or [])
    if len(data_sets) > 1:
        options: dict[str, Any] = {"intervals": intervals, "resamples": resamples, "seed": seed, "rope": rope}
        for name, of_data_set in data_sets.items():
            print(f"\nResults of {name}", flush=True)
            run(of_data_set[0], tables=tables, baseline=baseline, **options, paper=paper, sweep=of_data_set)
        return
    if sweep is not None and tables is None:
        from hydra.core.hydra_config import HydraConfig

        specs = sweep_specs(sweep, str(HydraConfig.get().job.config_name))
        _name_other_runs(sweep)
    else:
        specs = table_specs(cfg, tables, baseline)
    results = results_of(cfg, specs, resamples=resamples, seed=seed, rope=rope, paper=paper)
    shown = [result for result in results if result.has_any]
    if not shown:
        what = f"job.tables=[{', '.join(tables)}]" if tables else "any table"
        remedy = "train some first, e.g. with -cd sweeps -cn demo, or see job=status"
        print(f"no run of {what} under {cfg.paths.runs}; {remedy}")
        return
    from rich.console import Console

    from brats_ablate.runtime.files import write_json
    from brats_ablate.tables import terminal
    from brats_ablate.tables.differences import comparisons_dict
    from brats_ablate.tables.paper_table import write_paper_table
    from brats_ablate.tables.spec import CASE_ROWS
    from brats_ablate.tables.tabulate import all_tables, interval_rows, tabulate, training_rows
    from brats_ablate.tables.writers import write_csv, write_tables

    out, console = Path(cfg.paths.tables), Console()
    frames: dict[str, DataFrame] = {}
    for result in shown:
        parts = tabulate(result)
        terminal.show(parts, console)
        further = () if result.spec.ranking else (*(interval_rows(result) if intervals else ()), *training_rows(result))
        write_tables(all_tables(result), out, further)
        write_paper_table(result, out)
        frames |= tracked_frames(parts)
    write_csv(_case_rows(shown), out / f"{CASE_ROWS}.csv")
    write_json(out / "comparisons.json", {result.spec.name: comparisons_dict(result) for result in shown})
    count = counted(len(shown), "table")
    console.print(
        f"{count} as .md, .csv and .tex, the rows of all cases as cases.csv, comparisons.json: {out}", soft_wrap=True
    )
    info = tables_run(cfg)
    tracker = GuardedTracker(partial(instantiate, cfg.tracker, run=info), info)
    tracker.log_tables(frames)
    tracker.finish()
    if absent := [result.spec.name for result in results if not result.has_any]:
        console.print(f"Skipped (no runs yet): {', '.join(absent)}", soft_wrap=True)


def _name_other_runs(sweep: Sequence[DictConfig]) -> None:
    """Say which runs of a sweep's table have another configuration than the sweep: the table shows them as trained."""
    others = []
    for cfg in sweep:
        run = run_directory(cfg)
        with contextlib.suppress(Unreadable):  # the table names it
            if settings := other_settings(_with_recorded_weights(cfg, run), run):
                others.append(f"{run.coordinates} ({settings})")
    if others:
        more = f" and {len(others) - 1} more" if others[1:] else ""
        print_message(f"trained with other settings than this command has: {others[0]}{more}")


def _with_recorded_weights(cfg: DictConfig, run: RunDirectory) -> DictConfig:
    """Return `cfg` with the checksum of its initial weights as `run` recorded it: a table is made without their file.

    Where `run` started from none, the path shows the difference.
    """
    if OmegaConf.select(cfg, "init.checkpoint") is None or cfg.init.get("checksum") is not None:
        return cfg
    recorded = (run.identity() or {}).get("init.checksum")
    with_checksum = OmegaConf.merge(cfg, {"init": {"checksum": recorded or str(cfg.init.checkpoint)}})
    assert isinstance(with_checksum, DictConfig)
    return with_checksum


def tables_run(cfg: DictConfig) -> RunInfo:
    """Describe the tracker's run for a data set's tables."""
    data = str(cfg.data.name)
    return RunInfo("tables", data, "tables", Path(cfg.paths.tables), {"data": {"name": data}}, ("tables", data))


def tracked_frames(parts: Sequence[Table]) -> dict[str, DataFrame]:
    """Return what a tracker logs of the parts of one table: its scores and its differences, by name."""
    return {t.name: t.frame() for t in parts if t is parts[0] or t.name.endswith("_differences")}


def table_specs(cfg: DictConfig, names: list[str] | None, baseline: str | None = None) -> list[TableSpec]:
    """Read the named tables, or all: those of `experiments/` and of earlier sweeps.

    Raises:
        ConfigError: a table that does not exist or whose file is wrong, or a baseline that is not a column.
    """
    from brats_ablate.tables.scores import experiment_names
    from brats_ablate.tables.spec import load_table_specs

    trained = experiment_names(Path(cfg.paths.runs))
    evaluated = [path.stem for path in Path(cfg.paths.evaluation).glob("*.csv") if path.stem not in _RANKING_FILES]
    specs = [spec.expanded(trained, evaluated) for spec in load_table_specs([sweep_tables(cfg), *table_dirs()], names)]
    if baseline is not None:
        specs = [spec.with_baseline(baseline) for spec in specs]
        if all(spec.baseline != baseline for spec in specs):
            if all(spec.selects is None for spec in specs):
                raise ConfigError(
                    f"job.baseline={baseline} does not apply to {', '.join(spec.name for spec in specs)}: the file of "
                    "such a table has its baseline; leave it out, or choose a table of all experiments or evaluations"
                )
            hint = suggest(baseline, sorted({*evaluated, *trained}), otherwise="choose from")
            raise ConfigError(f"job.baseline={baseline} is not a column of these tables; {hint}")
    return specs


def results_of(
    cfg: DictConfig,
    specs: Sequence[TableSpec],
    *,
    resamples: int = 10_000,
    seed: int = 0,
    rope: float = 0.001,
    paper: bool | None = None,
) -> list[TableResult]:
    """Build tables from what exists; those without any run included.

    `paper`: whether to show the paper's figures; None: where data and schedule are the paper's.
    """
    from brats_ablate.tables.build import ResultsStore, build
    from brats_ablate.tables.published import is_papers_cohort, is_papers_schedule
    from brats_ablate.tables.scores import load_runs

    require_draws(resamples, seed)
    if rope < 0:
        raise ConfigError(f"job.rope={rope} must be a difference of mean Dice, 0 or more, e.g. 0.001")
    runs, names = Path(cfg.paths.runs), {c.experiment for spec in specs for c in spec.columns if c.experiment}
    started = sum(1 for _ in runs.glob("*/fold=*/lr=*/seed=*"))
    loaded = load_runs(runs, names, workers=None if started > _MANY_RUNS else 1)
    folds, patient_of = folds_and_patients(cfg)
    if paper is None:
        cohort = is_papers_cohort(str(cfg.data.name), cfg.data.n_folds, len(folds))
        specs = [s if cohort and is_papers_schedule(s, loaded) else s.without_paper_figures() for s in specs]
    elif not paper:
        specs = [s.without_paper_figures() for s in specs]
    store = ResultsStore(loaded, Path(cfg.paths.evaluation), folds, build_scheme(cfg), patient_of)
    return build(specs, store, folds=cfg.data.n_folds, resamples=resamples, seed=seed, rope=rope)


def require_draws(resamples: int, seed: int) -> None:
    """Check the keys of a job that tests by draws.

    Raises:
        ConfigError: one is impossible, or there are too few draws to show a small p.
    """
    if resamples < _FEWEST_DRAWS:
        raise ConfigError(
            f"job.resamples={resamples} must be at least {_FEWEST_DRAWS:,}: the smallest p is 1 / (resamples + 1)"
        )
    if seed < 0:
        raise ConfigError(f"job.seed={seed} must be 0 or more")


def _case_rows(results: Sequence[TableResult]) -> DataFrame:
    """Return the case rows behind all tables; a column that several of them share occurs once."""
    import pandas as pd

    from brats_ablate.tables.results import case_rows

    rows_of = {c.column.source: c.rows for result in results for c in result.columns if not c.rows.empty}
    return pd.concat(rows_of.values()) if rows_of else case_rows([])
