"""Label files and their references → rows case × region × metric, in worker processes."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from pandas import DataFrame

from brats_ablate.cases import ImageGeometry
from brats_ablate.data import nifti
from brats_ablate.data.store import CaseStore
from brats_ablate.data.up_to_date import is_source
from brats_ablate.data.validation import Problem, encoded_labels
from brats_ablate.errors import DataError
from brats_ablate.labels.scheme import LabelScheme
from brats_ablate.metrics.case_metrics import Scorer, cropped_to_tumor
from brats_ablate.runtime.progress import with_progress
from brats_ablate.runtime.workers import process_map

COLUMNS = ["case", "fold", "region", "metric", "value"]
_TOLERANCE_MM = 1e-3


@dataclass(frozen=True)
class Task:
    """One case to score. `reference` is a label file, or the folder of the prepared set that holds the case."""

    case_id: str
    prediction: Path
    reference: Path
    labels: LabelScheme
    """Of the prediction's values, and the regions to score."""
    reference_labels: LabelScheme
    """Of the values of a reference file; the regions mean the same."""


class Scores(NamedTuple):
    """The result of one case."""

    values: Mapping[tuple[str, str], float]
    """(region, metric) -> value."""
    is_swapped: bool | None
    """See `looks_swapped`."""


class Evaluation(NamedTuple):
    """The result of all cases."""

    rows: DataFrame
    """With `COLUMNS`."""
    problems: Mapping[str, Problem]
    """By case id."""
    swapped: Sequence[bool]
    """Of the cases where it can be told."""


def evaluate(tasks: Sequence[Task], scorer: Scorer, fold_of_case: Mapping[str, int], workers: int | None) -> Evaluation:
    """Score all tasks.

    `fold_of_case` has the validation fold of each case that has one. `workers` is None for one process per core.
    """
    rows: list[tuple[str, int | None, str, str, float]] = []
    problems: dict[str, Problem] = {}
    swapped: list[bool] = []
    results = process_map(partial(score, scorer=scorer), tasks, workers=workers)
    for task, result in zip(tasks, with_progress(results, "evaluating", len(tasks)), strict=True):
        if isinstance(result, Problem):
            problems[task.case_id] = result
        else:
            fold = fold_of_case.get(task.case_id)
            rows += [(task.case_id, fold, region, metric, v) for (region, metric), v in result.values.items()]
            swapped += [] if result.is_swapped is None else [result.is_swapped]
    frame = DataFrame(rows, columns=COLUMNS).astype({"fold": "Int64", "value": float})
    return Evaluation(frame, problems, swapped)


def score(task: Task, scorer: Scorer) -> Scores | Problem:
    """Read and score one case, or return why it is invalid. Runs in a worker process."""
    try:
        values, affine = nifti.read_volume(task.prediction)
        predicted = encoded_labels(task.prediction, values, task.labels)
    except DataError as error:
        return Problem.of(error)
    try:
        if task.reference.is_dir():
            store = CaseStore(task.reference)
            record = store.record(task.case_id)
            reference = store.read_reference(task.case_id)
            reference_affine = np.asarray(record.grid.affine)
        else:
            values, reference_affine = nifti.read_volume(task.reference)
            reference = encoded_labels(task.reference, values, task.reference_labels)
    except DataError as error:
        return Problem(str(error))
    on_grid = _on_grid(predicted, affine, reference.shape, reference_affine)
    if on_grid is None:
        return Problem(f"{task.prediction} is not on the grid of its reference; resample it to the case's own grid")
    if np.array_equal(on_grid, reference) and _is_reference(task):
        return Problem(f"{task.prediction} is the reference itself; give the folder of the predictions alone")
    grid = ImageGeometry(reference.shape, tuple(tuple(row) for row in reference_affine.tolist()))
    scores = scorer(on_grid, reference, grid.spacing_mm, task.labels)
    return Scores(scores, looks_swapped(on_grid, reference, task.labels))


def _is_reference(task: Task) -> bool:
    """Return whether a prediction of equal labels is the file of the reference, too."""
    if task.reference.is_dir():
        return is_source(task.reference, task.case_id, task.prediction)
    return os.path.realpath(task.prediction) == os.path.realpath(task.reference)


def _on_grid(
    values: np.ndarray, affine: np.ndarray, shape: tuple[int, ...], reference_affine: np.ndarray
) -> np.ndarray | None:
    """Return a volume with its axes in the order and directions of a reference; None if it is on another grid."""
    if values.shape == shape and np.allclose(affine, reference_affine, atol=_TOLERANCE_MM):
        return values
    try:
        own, wanted = nifti.Orientation.of(affine), nifti.Orientation.of(reference_affine)
    except ValueError:
        return None
    turned = np.empty(shape, values.dtype)
    view, oriented = wanted.to_ras(turned), own.to_ras(values)
    affines = own.affine_in_ras(affine, values.shape), wanted.affine_in_ras(reference_affine, shape)
    if view.shape != oriented.shape or not np.allclose(*affines, atol=_TOLERANCE_MM):
        return None
    view[:] = oriented
    return turned


def looks_swapped(predicted: np.ndarray, reference: np.ndarray, labels: LabelScheme) -> bool | None:
    """Return whether two tissues of a prediction lie where the reference has the respective other one.

    The tissues are `LabelScheme.outside_inside`, of which programs disagree which is 1. Arrays are label maps
    (X, Y, Z). None where the scheme names none, or one of the two is missing in prediction or reference.
    """
    if not labels.outside_inside:
        return None
    outer, inner = (labels.label(tissue) for tissue in labels.outside_inside)
    cropped = cropped_to_tumor(predicted, reference)
    of_predicted, of_reference = ([values == k for k in (outer, inner)] for values in cropped)
    if not all(mask.any() for mask in (*of_predicted, *of_reference)):
        return None
    own = [np.count_nonzero(p & r) for p, r in zip(of_predicted, of_reference, strict=True)]
    other = [np.count_nonzero(p & r) for p, r in zip(of_predicted, reversed(of_reference), strict=True)]
    return bool(other[0] > own[0] and other[1] > own[1])
