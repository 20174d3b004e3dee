"""`job=evaluate`: label files and references to rows case × region × metric. Reads predictions/, writes evaluation/.

Predictions can be of `job=predict` or of any other program; references are those of the prepared set, or files.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from brats_ablate.errors import ConfigError, DataError
from brats_ablate.inference.prediction_store import find_label_files
from brats_ablate.labels import REGIONS
from brats_ablate.runtime.files import atomic_write, write_json

if TYPE_CHECKING:
    from brats_ablate.metrics.case_metrics import CaseMetrics

COLUMNS = ("case", "fold", "region", "metric", "value")
Row = dict[str, Any]
Scores = dict[tuple[str, str], float]


def run(
    cfg: DictConfig,
    *,
    name: str,
    predictions: str | None,
    references: str,
    convention: str | None,
    workers: int | None,
    metrics: dict[str, Any],
) -> None:
    """Score every prediction that has a reference; the keys are described in conf/job/evaluate.yaml.

    Raises:
        ConfigError: a key is impossible.
        DataError: a folder is missing, or cases are unfit; all others are in the rows by then.
    """
    from hydra.utils import instantiate

    if workers is not None and workers < 1:
        raise ConfigError(f"job.workers={workers} must be at least 1, or null for one per core")
    scorer: CaseMetrics = instantiate(metrics)
    folder = Path(predictions) if predictions else Path(cfg.paths.predictions) / name
    rows, problems = evaluate(cfg, folder, references, convention, scorer, workers)
    file = Path(cfg.paths.evaluation) / f"{name}.csv"
    write_rows(file, rows)
    write_json(
        file.with_suffix(".json"), {"predictions": str(folder), "references": references, "policy": scorer.policy}
    )
    show(name, rows, scorer.policy)
    print(f"{len({row['case'] for row in rows})} cases: {file}")
    if problems:
        shown = "; ".join(f"{case}: {reason}" for case, reason in sorted(problems.items())[:3])
        raise DataError(f"{len(problems)} cases are not scored ({shown}); mend them and run the same command again")


def evaluate(
    cfg: DictConfig, folder: Path, references: str, convention: str | None, scorer: CaseMetrics, workers: int | None
) -> tuple[list[Row], dict[str, str]]:
    """The rows of all predictions in `folder`, by case, and the cases that cannot be scored with the reason.

    Raises:
        DataError: no prediction has a reference.
    """
    found = find_label_files(folder)
    reference_of = _references(cfg, references, found)
    tasks = [
        Task(case_id, found[case_id], reference, convention or cfg.data.convention)
        for case_id, reference in sorted(reference_of.items())
    ]
    if not tasks:
        raise DataError(f"no case of {folder} has a reference in {references}; check job.references and the file names")
    fold_of = folds_of(Path(cfg.paths.prepared))
    rows: list[Row] = []
    problems: dict[str, str] = dict.fromkeys(found.keys() - reference_of.keys(), "it has no reference")
    from brats_ablate.runtime.progress import ProgressBar

    with ProgressBar("evaluating", len(tasks)) as progress:
        for task, result in _results(tasks, scorer, workers or len(os.sched_getaffinity(0))):
            if isinstance(result, str):
                problems[task.case_id] = result
            else:
                fold = fold_of.get(task.case_id)
                rows += [
                    {"case": task.case_id, "fold": fold, "region": region, "metric": metric, "value": value}
                    for (region, metric), value in result.items()
                ]
            progress.advance()
    return rows, problems


@dataclass(frozen=True)
class Task:
    """One case to score. `reference` is a label file, or the folder of the prepared set that holds the case."""

    case_id: str
    prediction: Path
    reference: Path
    convention: str


def score(task: Task, scorer: CaseMetrics) -> Scores | str:
    """Read and score one case; runs in a worker process. Returns a sentence if the case is unfit."""
    import numpy as np

    from brats_ablate.cases import ImageGeometry
    from brats_ablate.data import nifti
    from brats_ablate.data.store import CaseStore, to_original_space
    from brats_ablate.labels import LabelError, encode_labels

    try:
        values, affine = nifti.read_volume(task.prediction)
        predicted = encode_labels(values, task.convention)
        if task.reference.is_dir():
            store = CaseStore(task.reference)
            record = store.record(task.case_id)
            reference, reference_affine = (
                to_original_space(record, store.read_labels(task.case_id)),
                np.asarray(record.grid.affine),
            )
        else:
            values, reference_affine = nifti.read_volume(task.reference)
            reference = encode_labels(values, task.convention)
    except (DataError, LabelError) as error:
        return str(error)
    if predicted.shape != reference.shape or not np.allclose(affine, reference_affine, atol=1e-3):
        return f"{task.prediction} is not on the grid of its reference; resample it to the case's own grid"
    grid = ImageGeometry(reference.shape, tuple(tuple(row) for row in reference_affine.tolist()))
    return scorer(predicted, reference, grid.spacing_mm)


def folds_of(prepared: Path) -> dict[str, int]:
    """Case id -> fold, from the frozen folds; {} where the set is not prepared."""
    import json

    file = prepared / "folds.json"
    if not file.exists():
        return {}
    folds = json.loads(file.read_text(encoding="utf-8"))["validation"]
    return {case_id: fold for fold, ids in enumerate(folds) for case_id in ids}


def write_rows(file: Path, rows: Sequence[Row]) -> None:
    """Write rows as CSV, whole or not at all; NaN-free by the metrics' policy."""
    with atomic_write(file) as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)


def show(name: str, rows: Sequence[Row], policy: str) -> None:
    """Print the means over cases, with what the numbers mean below."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"{name}: means over cases")
    table.add_column("metric")
    for region in (*REGIONS, "mean"):
        table.add_column(region, justify="right")
    for metric in dict.fromkeys(row["metric"] for row in rows):
        means = []
        for region in REGIONS:
            values = [row["value"] for row in rows if row["metric"] == metric and row["region"] == region]
            means.append(sum(values) / len(values))
        table.add_row(metric, *(f"{m:,.0f}" if m >= 1000 else f"{m:.4g}" for m in (*means, sum(means) / len(means))))
    console = Console()
    console.print(table)
    console.print(policy)


def _references(cfg: DictConfig, references: str, found: Mapping[str, Path]) -> dict[str, Path]:
    """Of each prediction that has one, the reference: a file, or the prepared set itself."""
    if references != "prepared":
        files = find_label_files(Path(references))
        return {case_id: files[case_id] for case_id in found if case_id in files}
    from brats_ablate.jobs.build import open_store

    store = open_store(cfg)
    have = {c for c in store.case_ids if store.record(c).has_labels}
    return {case_id: Path(cfg.paths.prepared) for case_id in found if case_id in have}


def _results(tasks: Sequence[Task], scorer: CaseMetrics, workers: int) -> Iterator[tuple[Task, Scores | str]]:
    scored = partial(score, scorer=scorer)
    with ExitStack() as stack:
        if min(workers, len(tasks)) > 1:
            import multiprocessing

            context = multiprocessing.get_context("spawn")
            pool = stack.enter_context(ProcessPoolExecutor(min(workers, len(tasks)), mp_context=context))
            yield from zip(tasks, pool.map(scored, tasks, chunksize=4), strict=True)
        else:
            yield from zip(tasks, map(scored, tasks), strict=True)
