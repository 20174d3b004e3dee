"""Label files and their references → rows case × region × metric, in worker processes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from pandas import DataFrame

from brats_ablate.cases import ImageGeometry
from brats_ablate.data import nifti
from brats_ablate.data.store import CaseStore
from brats_ablate.errors import DataError
from brats_ablate.labels.scheme import LabelError, LabelScheme
from brats_ablate.metrics.case_metrics import CaseMetrics
from brats_ablate.runtime.progress import ProgressBar
from brats_ablate.runtime.workers import process_map

COLUMNS = ["case", "fold", "region", "metric", "value"]


@dataclass(frozen=True)
class Task:
    """One case to score. `reference` is a label file, or the folder of the prepared set that holds the case."""

    case_id: str
    prediction: Path
    reference: Path
    labels: LabelScheme


def evaluate(
    tasks: Sequence[Task], scorer: CaseMetrics, fold_of_case: Mapping[str, int], workers: int | None
) -> tuple[DataFrame, dict[str, str]]:
    """Return the rows of all tasks, with `COLUMNS`, and the cases that cannot be scored, each with the reason.

    `fold_of_case` has the validation fold of each case that has one. `workers` is None for one process per core.
    """
    rows: list[tuple[str, int | None, str, str, float]] = []
    problems: dict[str, str] = {}
    with ProgressBar("evaluating", len(tasks)) as progress:
        for task, scores in zip(tasks, process_map(partial(score, scorer=scorer), tasks, workers=workers), strict=True):
            if isinstance(scores, str):
                problems[task.case_id] = scores
            else:
                fold = fold_of_case.get(task.case_id)
                rows += [(task.case_id, fold, region, metric, value) for (region, metric), value in scores.items()]
            progress.advance()
    return DataFrame(rows, columns=COLUMNS).astype({"fold": "Int64", "value": float}), problems


def score(task: Task, scorer: CaseMetrics) -> dict[tuple[str, str], float] | str:
    """Read and score one case; return the reason if it is invalid. Runs in a worker process."""
    try:
        values, affine = nifti.read_volume(task.prediction)
        predicted = task.labels.encode(values)
        if task.reference.is_dir():
            store = CaseStore(task.reference)
            record = store.record(task.case_id)
            reference = store.read_reference(task.case_id)
            reference_affine = np.asarray(record.grid.affine)
        else:
            values, reference_affine = nifti.read_volume(task.reference)
            reference = task.labels.encode(values)
    except (DataError, LabelError) as error:
        return str(error)
    if predicted.shape != reference.shape or not np.allclose(affine, reference_affine, atol=1e-3):
        return f"{task.prediction} is not on the grid of its reference; resample it to the case's own grid"
    grid = ImageGeometry(reference.shape, tuple(tuple(row) for row in reference_affine.tolist()))
    return scorer(predicted, reference, grid.spacing_mm, task.labels)
