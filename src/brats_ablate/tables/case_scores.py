"""Per-case rows: of a run's best epoch, and of what `job=evaluate` wrote. They feed `comparison` and the report.

`cases.jsonl` grows by one line per validated epoch and case: a thousand epochs of 250 cases are 20 MB. Only the lines
of one epoch are wanted, so the file is searched for them instead of being parsed.
"""

from __future__ import annotations

import csv
import json
import mmap
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from brats_ablate.errors import DataError
from brats_ablate.labels import REGIONS
from brats_ablate.runs.directory import RunDirectory
from brats_ablate.tables.run_summary import RunSummary
from brats_ablate.tables.scores import Scores

ET_REFERENCE = "ET_reference"
"""Reference ET voxels of a case, where the rows have it."""


@dataclass(frozen=True)
class CaseScores:
    """Dice per case and region of one column, seeds averaged."""

    cases: tuple[str, ...]
    folds: np.ndarray
    """(cases,) int; -1 where unknown."""
    dice: np.ndarray
    """(cases, 3), regions as `labels.REGIONS`."""
    et_reference: np.ndarray
    """(cases,) reference ET voxels, NaN where the rows do not say."""

    @property
    def mean_dice(self) -> np.ndarray:
        """(cases,) mean over the three regions."""
        return self.dice.mean(axis=1)


def rows_of_epoch(directory: RunDirectory, epoch: int) -> list[dict[str, Any]]:
    """The per-case rows of one validated epoch, by case id.

    An epoch's rows are written together; where a resumed run validated it again, the later block counts.
    """
    file = directory.path / "cases.jsonl"
    if not file.exists() or file.stat().st_size == 0:
        return []
    with file.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
        lines = _last_block(content, b'{"epoch": %d, ' % epoch)
    if not lines:  # keys in another order, e.g. rows written by hand
        return [row for row in directory.cases() if row["epoch"] == epoch]
    return sorted(map(json.loads, lines), key=lambda row: row["case"])


def _last_block(content: mmap.mmap, start: bytes) -> list[bytes]:
    """The last run of adjacent complete lines that begin with `start`."""
    lines: list[bytes] = []
    at = content.rfind(start)
    while at >= 0 and content[at : at + len(start)] == start and (at == 0 or content[at - 1 : at] == b"\n"):
        end = content.find(b"\n", at)
        if end >= 0:
            lines.append(content[at:end])
        at = content.rfind(b"\n", 0, at - 1) + 1 if at > 0 else -1
    return lines


def of_column(scores: Scores) -> CaseScores | None:
    """The per-case rows behind a column's finished folds; None if no run has any."""
    return combine([(run, rows_of_epoch(run.directory, run.best_epoch or 0)) for c in scores.cells for run in c.runs])


def combine(rows_of_runs: Iterable[tuple[RunSummary, list[dict[str, Any]]]]) -> CaseScores | None:
    """One entry per case: the mean over the runs (seeds) that have it."""
    values: dict[str, list[list[float]]] = defaultdict(list)
    folds: dict[str, int] = {}
    sizes: dict[str, float] = {}
    for run, rows in rows_of_runs:
        for row in rows:
            case = row["case"]
            values[case].append([float(row[region]) for region in REGIONS])
            folds[case] = run.coordinates.fold
            sizes[case] = float(row[ET_REFERENCE]) if row.get(ET_REFERENCE) is not None else np.nan
    return _case_scores({case: np.mean(v, axis=0) for case, v in values.items()}, folds, sizes)


def read_evaluation(file: Path, folds: Mapping[str, int]) -> CaseScores | None:
    """The Dice rows (case, region, metric, value) of `job=evaluate`.

    Args:
        folds: case id -> fold, from the prepared cohort.

    Raises:
        DataError: the file lacks a column, or a case lacks a region.
    """
    values: dict[str, dict[str, float]] = defaultdict(dict)
    with file.open(newline="", encoding="utf-8") as stream:
        reader = csv.DictReader(stream)
        missing = {"case", "region", "metric", "value"} - set(reader.fieldnames or ())
        if missing:
            raise DataError(f"{file} has no column {sorted(missing)[0]}; make it again with job=evaluate")
        for row in reader:
            if row["metric"].lower() == "dice":
                values[row["case"]][row["region"]] = float(row["value"])
    for case, by_region in values.items():
        for region in REGIONS:
            if region not in by_region:
                raise DataError(f"{file} has no Dice of {region} for case {case}; make it again with job=evaluate")
    dice = {case: np.array([by_region[r] for r in REGIONS]) for case, by_region in values.items()}
    return _case_scores(dice, folds, {})


def _case_scores(
    dice: Mapping[str, np.ndarray], folds: Mapping[str, int], sizes: Mapping[str, float]
) -> CaseScores | None:
    if not dice:
        return None
    cases = tuple(sorted(dice))
    return CaseScores(
        cases,
        np.array([folds.get(c, -1) for c in cases]),
        np.array([dice[c] for c in cases]),
        np.array([sizes.get(c, np.nan) for c in cases]),
    )
