"""job=report: run directories → one self-contained HTML page. Imports no torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from brats_ablate.config.command import options_of_data
from brats_ablate.jobs.tables import build_results
from brats_ablate.runtime.files import read_json, write_text
from brats_ablate.runtime.text import shell_quoted


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
    built = build_results(cfg, tables, resamples=resamples, seed=seed, rope=rope, paper=paper)
    results = [result for result in built if result.has_any]
    if not results:
        print(f"no run under {cfg.paths.runs} to report on; train some first, e.g. with -cd sweeps -cn demo")
        return
    from brats_ablate.report.html import render_report
    from brats_ablate.report.selection import distinct_tables

    shown = distinct_tables(results) if tables is None else results
    pictures = find_pictures(Path(cfg.paths.predictions))
    calibrations = find_calibrations(Path(cfg.paths.evaluation))
    title, options = f"Ablation study, {cfg.data.name}", "".join(f"{shell_quoted(o)} " for o in options_of_data(cfg))
    page = render_report(results, shown, pictures, calibrations, title=title, options=options)
    write_text(Path(output), page)
    count = f"{len(shown)} table{'s' if len(shown) > 1 else ''}"
    print(f"{output}: {count}, {len(page.encode()) / 1e6:.1f} MB; open it in a browser")


def find_pictures(predictions: Path) -> dict[str, dict[str, Path]]:
    """Return experiment -> case id -> image file, of those that `job=pictures` drew."""
    pictures: dict[str, dict[str, Path]] = {}
    for file in sorted(predictions.glob("*/pictures/*.png")):
        pictures.setdefault(file.parent.parent.name, {})[file.stem] = file
    return pictures


def find_calibrations(evaluation: Path) -> dict[str, dict[str, Any]]:
    """Return experiment -> content of the file that `job=calibration` wrote for its predictions."""
    return {file.stem: read_json(file) for file in sorted(evaluation.glob("calibration/*.json"))}
