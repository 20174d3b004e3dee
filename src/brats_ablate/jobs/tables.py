"""job=tables: run directories in, the ablation tables out, as Markdown, CSV, LaTeX and in the terminal. No torch.

With tracker=wandb they are logged as W&B Tables, too, always as the same run.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from brats_ablate.config.locations import table_dirs
from brats_ablate.jobs.build import instantiate
from brats_ablate.runtime.files import atomic_write
from brats_ablate.tracking.base import RunInfo, TableText

_RANKING = ("ranking", "ranking_pairs")
"""What job=rank leaves beside the evaluations."""

if TYPE_CHECKING:
    from brats_ablate.tables.build import TableResult


def run(cfg: DictConfig, *, tables: list[str] | None, intervals: bool, resamples: int, seed: int) -> None:
    """Write every table that has runs into `paths.tables`, print it, and tell the tracker.

    Raises:
        ConfigError: a table that does not exist, or whose file is wrong.
    """
    results = build_results(cfg, tables, resamples=resamples, seed=seed)
    out = Path(cfg.paths.tables)
    shown = [result for result in results if result.has_any]
    if not shown:
        what = f"job.tables=[{', '.join(tables)}]" if tables else "any table"
        remedy = "train some first, e.g. with -cd sweeps -cn demo, or look with job=status"
        print(f"no run of {what} under {cfg.paths.runs}; {remedy}")
        return
    from rich.console import Console

    from brats_ablate.tables.export import write_case_rows
    from brats_ablate.tables.terminal import show
    from brats_ablate.tables.text_tables import sheets_of

    out.mkdir(parents=True, exist_ok=True)
    console = Console()
    for result in shown:
        show(sheets_of(result), console)
        write(result, out, intervals=intervals)
    runs = {id(r): r for result in shown for c in result.columns for cell in c.scores.best_lr.cells for r in cell.runs}
    write_case_rows(runs.values(), out / "cases.csv")
    count = f"{len(shown)} table{'s' if len(shown) > 1 else ''}"
    console.print(
        f"{count} as .md, .csv and .tex, and the rows of every case as cases.csv, are in {out}", soft_wrap=True
    )
    tracker = instantiate(cfg.tracker, run=tables_run(cfg))
    tracker.log_tables(lambda: [table_text(result) for result in shown])
    tracker.finish()
    if absent := [result.study.name for result in results if not result.has_any]:
        console.print(f"no run yet of any column of: {', '.join(absent)}", soft_wrap=True)


def tables_run(cfg: DictConfig) -> RunInfo:
    """What a tracker is told of a data set's tables: one run, beside those of the training."""
    data = str(cfg.data.name)
    return RunInfo("tables", data, "tables", Path(cfg.paths.tables), {"data": {"name": data}}, ("tables", data))


def table_text(result: TableResult) -> TableText:
    """A table and its differences as text, for a tracker."""
    from brats_ablate.tables.text_tables import sheets_of
    from brats_ablate.tables.writers import markdown

    sheets = sheets_of(result)
    first = sheets[0]
    return TableText(first.name, first.title, first.header, first.rows, markdown(sheets[:2]))


def build_results(cfg: DictConfig, names: list[str] | None, *, resamples: int, seed: int) -> list[TableResult]:
    """The named tables, or all, from what exists; those without any run included."""
    from brats_ablate.tables.build import ResultsStore, build
    from brats_ablate.tables.run_summary import load_runs
    from brats_ablate.tables.spec import load_table_specs

    studies = load_table_specs(table_dirs(), names)
    runs = Path(cfg.paths.runs)
    trained = sorted(path.name for path in runs.iterdir() if path.is_dir()) if runs.is_dir() else []
    evaluated = [path.stem for path in Path(cfg.paths.evaluation).glob("*.csv") if path.stem not in _RANKING]
    studies = [study.with_all(trained, evaluated) for study in studies]
    wanted = {c.experiment for study in studies for c in study.columns if c.experiment in trained}
    gathered = load_runs(runs, sorted(name for name in wanted if name))
    sources = ResultsStore(gathered, Path(cfg.paths.evaluation), fold_of_case(Path(cfg.paths.prepared)))
    return build(studies, sources, folds=cfg.data.n_folds, resamples=resamples, seed=seed)


def write(result: TableResult, out: Path, *, intervals: bool) -> None:
    """One table's files: everything as Markdown, each sheet as CSV, the table itself as LaTeX."""
    from brats_ablate.tables import writers
    from brats_ablate.tables.text_tables import sheets_of

    sheets = sheets_of(result)
    _replace(out / f"{result.study.name}.md", writers.markdown(sheets))
    _replace(out / f"{result.study.name}.tex", writers.latex(sheets[0], _interval_rows(result) if intervals else ()))
    for sheet in sheets:
        _replace(out / f"{sheet.name}.csv", writers.csv_text(sheet))


def fold_of_case(prepared: Path) -> dict[str, int]:
    """Case id -> fold, from the frozen fold file; {} where the data set is not prepared."""
    file = prepared / "folds.json"
    if not file.exists():
        return {}
    folds = json.loads(file.read_text(encoding="utf-8"))["validation"]
    return {case: fold for fold, cases in enumerate(folds) for case in cases}


def _interval_rows(result: TableResult) -> Sequence[tuple[str, ...]]:
    """The difference to the baseline and its interval, below the columns of the table."""
    from brats_ablate.tables import formatting

    deltas, bounds = ["Δ to baseline"], ["95 % interval"]
    for i, column in enumerate(result.columns):
        found = result.comparison(i)
        deltas.append(formatting.signed(found.shown_difference) if found else formatting.DASH)
        bounds.append(formatting.interval(found.interval) if found else formatting.DASH)
        if column.column.paper:
            deltas.append("")
            bounds.append("")
    return [tuple(deltas), tuple(bounds)]


def _replace(file: Path, text: str) -> None:
    with atomic_write(file) as temporary:
        temporary.write_text(text, encoding="utf-8")
