"""The numbers behind the report's figures, as plain lists; Dice in ten-thousandths to keep the file small."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from brats_ablate.labels import REGIONS
from brats_ablate.tables import comparison
from brats_ablate.tables.build import ColumnResult, TableResult
from brats_ablate.tables.case_scores import CaseScores
from brats_ablate.tables.run_summary import SCORES, RunSummary

CURVE_POINTS = 120
"""Points kept of a learning curve: the first, the last, the best and an even choice between them."""
PICTURES_PER_PAIR = 6
PICTURE_BYTES = 1_200_000
"""All pictures together; further ones are left out."""


def payload(results: Sequence[TableResult], pictures: Mapping[str, Mapping[str, Path]]) -> dict[str, Any]:
    """Everything the page's script draws."""
    columns = {c.column.source: c for result in results for c in result.columns}
    return {
        "tables": [_table(result) for result in results],
        "curves": [_curve(run) for column in columns.values() for run in column.scores.runs if run.metrics],
        "cases": _cases(columns),
        "pairs": [
            [r.columns[c.against].column.source, r.columns[c.column].column.source]
            for r in results
            for c in r.comparisons
            if c.cases
        ],
        "regions": list(REGIONS),
        "pictures": _pictures(results, pictures),
    }


def _table(result: TableResult) -> dict[str, Any]:
    return {
        "name": result.study.name,
        "columns": [
            {
                "title": c.column.title,
                "key": c.column.source,
                "folds": c.scores.best_lr.values,
                "paper": list(c.column.paper.folds) if c.column.paper else None,
            }
            for c in result.columns
        ],
        "forest": [
            {
                "title": result.columns[c.column].column.title,
                "against": result.columns[c.against].column.title,
                "difference": c.shown_difference,
                "low": _known(c.interval.low),
                "high": _known(c.interval.high),
                "verdict": c.verdict,
                "reason": c.reason,
            }
            for c in result.comparisons
            if not math.isnan(c.difference)
        ],
        "noise": result.noise_floor,
    }


def _curve(run: RunSummary) -> dict[str, Any]:
    rows = _thinned([row for row in run.metrics if "dice" in row], run.best_epoch)
    losses = _thinned([row for row in run.metrics if "loss" in row], None)
    where = run.coordinates
    return {
        "name": where.name,
        "fold": where.fold,
        "lr": f"{where.lr:g}",
        "seed": where.seed,
        "state": run.state,
        "epochs": [row["epoch"] for row in rows],
        **{key: [_ten_thousandths(row.get(key)) for row in rows] for key in SCORES},
        "loss_epochs": [row["epoch"] for row in losses],
        "loss": [_rounded(row.get("loss")) for row in losses],
    }


def _thinned(rows: list[dict[str, Any]], keep: int | None) -> list[dict[str, Any]]:
    if len(rows) <= CURVE_POINTS:
        return rows
    chosen = set(np.linspace(0, len(rows) - 1, CURVE_POINTS).astype(int).tolist())
    return [row for i, row in enumerate(rows) if i in chosen or row["epoch"] == keep]


def _cases(columns: Mapping[str, ColumnResult]) -> dict[str, Any]:
    found = {key: c.rows for key, c in columns.items() if c.rows is not None}
    ids = sorted({case for rows in found.values() for case in rows.cases})
    place = {case: i for i, case in enumerate(ids)}
    voxels: list[int | None] = [None] * len(ids)
    dice: dict[str, list[list[int | None]]] = {}
    for key, rows in found.items():
        regions: list[list[int | None]] = [[None] * len(ids) for _ in REGIONS]
        for case, values, size in zip(rows.cases, rows.dice.tolist(), rows.et_reference.tolist(), strict=True):
            for region, value in zip(regions, values, strict=True):
                region[place[case]] = _ten_thousandths(value)
            if not math.isnan(size):
                voxels[place[case]] = int(size)
        dice[key] = regions
    titles = {key: columns[key].column.title for key in found}
    return {"ids": ids, "et_voxels": voxels, "dice": dice, "titles": titles}


def most_changed(column: CaseScores, baseline: CaseScores, count: int) -> list[str]:
    """The cases whose mean Dice differs most between two columns, largest change first."""
    cases, differences = comparison.paired_differences(column, baseline)
    order = np.argsort(-np.abs(differences.mean(axis=1)), kind="stable")[:count]
    return [cases[i] for i in order]


def _pictures(results: Sequence[TableResult], files: Mapping[str, Mapping[str, Path]]) -> dict[str, dict[str, str]]:
    """Column -> case -> PNG as a data URI, for both sides of every comparison."""
    found: dict[str, dict[str, str]] = {}
    left = PICTURE_BYTES
    for result in results:
        for c in result.comparisons:
            mine, theirs = result.columns[c.column], result.columns[c.against]
            if mine.rows is None or theirs.rows is None:
                continue
            for case in most_changed(mine.rows, theirs.rows, PICTURES_PER_PAIR):
                for column in (mine.column, theirs.column):
                    key, file = column.source, files.get(column.key, {}).get(case)
                    if file is None or case in found.get(key, {}) or file.stat().st_size > left:
                        continue
                    left -= file.stat().st_size
                    encoded = base64.b64encode(file.read_bytes()).decode("ascii")
                    found.setdefault(key, {})[case] = f"data:image/png;base64,{encoded}"
    return found


def _known(value: float) -> float | None:
    """JSON has no NaN."""
    return None if math.isnan(value) else value


def _ten_thousandths(value: Any) -> int | None:
    return round(value * 10_000) if isinstance(value, int | float) and math.isfinite(value) else None


def _rounded(value: Any) -> float | None:
    return float(f"{value:.5g}") if isinstance(value, int | float) and math.isfinite(value) else None
