"""job=report: run directories → one self-contained HTML page. Imports no torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from brats_ablate.config.command import command_of_runs, is_experiment, options_of_data
from brats_ablate.jobs.tables import results_of, table_specs
from brats_ablate.runtime.files import read_json, write_text
from brats_ablate.runtime.text import counted
from brats_ablate.tables.build import TableResult
from brats_ablate.tables.scores import RunSummary


def run(
    cfg: DictConfig,
    *,
    tables: list[str] | None,
    output: str,
    resamples: int,
    seed: int,
    rope: float,
    paper: bool | None = None,
) -> None:
    """Write the report of the named tables, or of every table that shows something of its own, to `output`.

    Raises:
        ConfigError: a table that does not exist, or whose file is wrong.
        UserError: plotly is not installed.
    """
    specs = table_specs(cfg, tables)
    built = results_of(cfg, specs, resamples=resamples, seed=seed, rope=rope, paper=paper)
    results = [result for result in built if result.has_any]
    if not results:
        print(f"no run under {cfg.paths.runs} to report on; train some first, e.g. with -cd sweeps -cn demo")
        return
    from brats_ablate.report.html import render_report
    from brats_ablate.report.selection import distinct_tables

    shown = distinct_tables(results) if tables is None else results
    pictures = find_pictures(Path(cfg.paths.predictions))
    calibrations = find_calibrations(Path(cfg.paths.evaluation))
    title, commands = f"Ablation study, {cfg.data.name}", training_commands(shown, options_of_data(cfg))
    page = render_report(results, shown, pictures, calibrations, title=title, commands=commands)
    write_text(Path(output), page)
    count = counted(len(shown), "table")
    print(f"{output}: {count}, {len(page.encode()) / 1e6:.1f} MB; open it in a browser")


def training_commands(
    shown: Sequence[TableResult], of_data: Sequence[str], rates: Sequence[float] | None = None
) -> dict[str, str]:
    """Return experiment → the command that trains more of it, with the options of its runs.

    An experiment without any has those that are common to the runs of all others. `rates` are the learning rates; None
    for those of its runs.
    """
    columns = {c.column.key: c for result in shown for c in result.columns if c.column.experiment}
    runs = {key: sorted(c.scores.runs, key=lambda run: not run.is_finished) for key, c in columns.items()}
    recorded = {key: [o for run in own if (o := _recorded_options(run)) is not None] for key, own in runs.items()}
    known = [options for of_column in recorded.values() for options in of_column]
    common = [o for o in (known[0] if known else []) if not is_experiment(o) and all(o in other for other in known)]
    commands = {}
    for key, own in runs.items():
        options = recorded[key][0] if recorded[key] else [f"+experiment={key}", *common]
        like = own or [run for others in runs.values() for run in others]
        own_rates = sorted({run.coordinates.lr for run in like}) if rates is None else rates
        listed = ",".join(f"{lr!r}" for lr in own_rates)
        commands[key] = command_of_runs(options, key, of_data) + (f" lr={listed}" if listed else "")
    return commands


def _recorded_options(run: RunSummary) -> list[str] | None:
    """Return None for a run of an earlier version, or of another program."""
    options = run.manifest.get("options")
    return options if isinstance(options, list) and all(isinstance(text, str) for text in options) else None


def find_pictures(predictions: Path) -> dict[str, dict[str, Path]]:
    """Return experiment -> case id -> image file, of those that `job=pictures` drew."""
    pictures: dict[str, dict[str, Path]] = {}
    for file in sorted(predictions.glob("*/pictures/*.png")):
        pictures.setdefault(file.parent.parent.name, {})[file.stem] = file
    return pictures


def find_calibrations(evaluation: Path) -> dict[str, dict[str, Any]]:
    """Return experiment -> content of the file that `job=calibration` wrote for its predictions."""
    return {file.stem: read_json(file) for file in sorted(evaluation.glob("calibration/*.json"))}
