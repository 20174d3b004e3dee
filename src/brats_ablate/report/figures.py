"""The report's figures as plain lists of numbers; Dice in ten-thousandths to keep the file small."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
from pandas import DataFrame

from brats_ablate.labels.scheme import LabelScheme
from brats_ablate.report.selection import has_result
from brats_ablate.tables.build import ColumnResult, TableResult
from brats_ablate.tables.comparison import Tested
from brats_ablate.tables.differences import effect_verdict, verdict_cell
from brats_ablate.tables.scores import RunSummary
from brats_ablate.tables.strata import paired_differences
from brats_ablate.tables.table import known
from brats_ablate.tables.training_size import size_curves

CURVE_POINTS = 120
"""Points kept of a learning curve: the first, the last, the best and evenly spaced ones."""
ALL_POINTS, _FEWEST_POINTS = 40_000, 8
"""Points of all curves together, so that thousands of runs have fewer each, but not less than a few."""
_OF_EPOCHS = ("loss", "lr", "patches_per_second")
PICTURES_PER_PAIR = 6
PICTURE_BYTES = 1_200_000
"""Of all pictures together; further ones are left out."""
_WEBP_QUALITY = 70
"""A fifth of the PNG's size, without visible loss."""


def figure_data(
    results: Sequence[TableResult], shown: Sequence[TableResult], pictures: Mapping[str, Mapping[str, Path]]
) -> dict[str, Any]:
    """Return the data that the page's script draws: the figures of the tables `shown`, the curves and cases of all."""
    columns = {c.column.source: c for result in results for c in result.columns}
    labels = results[0].labels
    return {
        "tables": [_table(result) for result in shown],
        "curves": _curves([run for column in columns.values() for run in column.scores.runs], labels),
        "cases": _cases(columns, labels),
        "pairs": [
            [r.columns[c.baseline].column.source, r.columns[c.column].column.source]
            for r in shown
            for c in r.comparisons
            if c.cases
        ],
        "regions": list(labels.regions),
        "averaged": [labels.region_names.index(region) for region in labels.averaged_names],
        "sized_region": labels.sized_region,
        "pictures": _pictures(shown, pictures),
    }


def _table(result: TableResult) -> dict[str, Any]:
    return {
        "name": result.spec.name,
        "columns": [
            {
                "title": c.column.title,
                "key": c.column.source,
                "folds": c.scores.per_fold_lr.values,
                "paper": list(c.column.paper.folds) if c.column.paper else None,
            }
            for c in result.columns
            if has_result(c) or c.column.paper
        ],
        "forest": [
            _tested(c, result.columns[c.column].column.title, result.columns[c.baseline].column.title)
            for c in result.comparisons
            if not math.isnan(c.difference)
        ],
        "effects": [
            _tested(e, " × ".join(e.factors) + ("" if e.kind == "main" else f" ({e.kind})"))
            | {"words": effect_verdict(e).text}
            for e in result.effects
            if not math.isnan(e.difference)
        ],
        "noise": result.noise_floor,
        "sizes": [
            {
                "title": curve.title,
                "key": curve.source,
                "fractions": [p.fraction for p in curve.points],
                "cases": [p.cases for p in curve.points],
                "dice": [p.mean for p in curve.points],
                "low": [known(p.interval.low) for p in curve.points],
                "high": [known(p.interval.high) for p in curve.points],
            }
            for curve in size_curves(result.columns)
        ],
    }


def _tested(tested: Tested, title: str, baseline: str = "") -> dict[str, Any]:
    """Return one row of a forest plot."""
    numbers = {"low": known(tested.interval.low), "high": known(tested.interval.high), "p": known(tested.p_adjusted)}
    verdict = verdict_cell(tested)
    words = {"title": title, "baseline": baseline, "verdict": verdict.words, "words": verdict.text}
    return {**words, "difference": tested.difference, **numbers}


def _curves(runs: Sequence[RunSummary], labels: LabelScheme) -> list[dict[str, Any]]:
    points = min(CURVE_POINTS, max(_FEWEST_POINTS, ALL_POINTS // max(1, len(runs))))
    return [_curve(run, labels, points) for run in runs if run.recorded_epochs]


def _curve(run: RunSummary, labels: LabelScheme, points: int) -> dict[str, Any]:
    """Return a run's validation scores, those between full validations, and what was recorded in every epoch."""
    regions = ("dice", *(f"dice/{region}" for region in labels.regions))
    metrics = run.directory.metrics()
    hours = accumulate(float(row.get("seconds") or 0) / 3600 for row in metrics)
    rows = [{**row, "hours": time} for row, time in zip(metrics, hours, strict=True)]
    dice = _downsample([row for row in rows if "dice" in row], points, run.best.get("epoch"))
    interim = _downsample([row for row in rows if "interim/dice" in row], points, None)
    trained = _downsample([row for row in rows if "loss" in row], points, None)
    coordinates = run.coordinates
    return {
        "name": coordinates.name,
        "fold": coordinates.fold,
        "lr": f"{coordinates.lr:g}",
        "seed": coordinates.seed,
        "state": run.status.state,
        "dice": _axes(dice) | {key: [_ten_thousandths(row.get(key)) for row in dice] for key in regions},
        "interim": _axes(interim)
        | {key: [_ten_thousandths(row.get(f"interim/{key}")) for row in interim] for key in regions if interim},
        "training": _axes(trained) | {key: [_rounded(row.get(key)) for row in trained] for key in _OF_EPOCHS},
    }


def _axes(rows: Sequence[dict[str, Any]]) -> dict[str, list[float | None]]:
    return {key: [_rounded(row.get(key), 7) for row in rows] for key in ("epoch", "step", "hours")}


def _downsample(rows: list[dict[str, Any]], points: int, keep: int | None) -> list[dict[str, Any]]:
    if len(rows) <= points:
        return rows
    kept = set(np.linspace(0, len(rows) - 1, points).astype(int).tolist())
    return [row for i, row in enumerate(rows) if i in kept or row["epoch"] == keep]


def _cases(columns: Mapping[str, ColumnResult], labels: LabelScheme) -> dict[str, Any]:
    scores = {key: c.case_scores for key, c in columns.items() if not c.case_scores.empty}
    ids = sorted({case for of_column in scores.values() for case in of_column.index})
    voxels: dict[str, int] = {}
    dice: dict[str, list[list[int | None]]] = {}
    for key, column in scores.items():
        by_region = column[list(labels.regions)].reindex(ids).to_numpy().T.tolist()
        dice[key] = [[_ten_thousandths(value) for value in region] for region in by_region]
        voxels |= {str(case): int(size) for case, size in column["reference_voxels"].dropna().items()}
    titles = {key: columns[key].column.title for key in scores}
    return {"ids": ids, "voxels": [voxels.get(c) for c in ids], "dice": dice, "titles": titles}


def most_changed(column: DataFrame, baseline: DataFrame, regions: Sequence[str], count: int) -> list[str]:
    """Return the cases whose mean Dice differs most between two columns, largest change first."""
    cases, differences = paired_differences(column, baseline, regions)
    order = np.argsort(-np.abs(differences.mean(axis=1)), kind="stable")[:count]
    return [cases[i] for i in order]


def _pictures(results: Sequence[TableResult], files: Mapping[str, Mapping[str, Path]]) -> dict[str, dict[str, str]]:
    """Return column -> case -> image as a data URI, for both columns of every comparison."""
    pictures: dict[str, dict[str, str]] = {}
    bytes_left = PICTURE_BYTES
    for result in results:
        regions = result.labels.averaged_names
        for c in result.comparisons:
            column, baseline = result.columns[c.column], result.columns[c.baseline]
            for case in most_changed(column.case_scores, baseline.case_scores, regions, PICTURES_PER_PAIR):
                for side in (column.column, baseline.column):
                    key, file = side.source, files.get(side.key, {}).get(case)
                    if file is None or case in pictures.get(key, {}):
                        continue
                    content = _webp(file)
                    bytes_left -= len(content)
                    if bytes_left < 0:
                        return pictures
                    encoded = base64.b64encode(content).decode("ascii")
                    pictures.setdefault(key, {})[case] = f"data:image/webp;base64,{encoded}"
    return pictures


def _webp(file: Path) -> bytes:
    """Return an image compressed for the page."""
    from PIL import Image

    content = io.BytesIO()
    with Image.open(file) as picture:
        picture.convert("RGB").save(content, "WEBP", quality=_WEBP_QUALITY)
    return content.getvalue()


def _ten_thousandths(value: object) -> int | None:
    return round(value * 10_000) if isinstance(value, int | float) and math.isfinite(value) else None


def _rounded(value: object, digits: int = 5) -> float | None:
    return float(f"{value:.{digits}g}") if isinstance(value, int | float) and math.isfinite(value) else None
