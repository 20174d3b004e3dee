"""`job=evaluate`: score label files. Reads predictions/, writes evaluation/<name>.csv.

Predictions can be of `job=predict` or of any other program; references are those of the prepared set, or files.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from brats_ablate.config.label_schemes import scheme_named
from brats_ablate.errors import ConfigError, DataError
from brats_ablate.inference.prediction_store import find_label_files
from brats_ablate.jobs.build import build_scheme, layout_of, open_store
from brats_ablate.runtime.files import write_json

if TYPE_CHECKING:
    from pandas import DataFrame

    from brats_ablate.metrics.case_metrics import CaseMetrics
    from brats_ablate.tables.table import Table


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
        DataError: a folder is missing, or cases are invalid; the rows of all others are written before.
    """
    from hydra.utils import instantiate
    from rich.console import Console

    from brats_ablate.tables import terminal
    from brats_ablate.tables.writers import write_csv

    if workers is not None and workers < 1:
        raise ConfigError(f"job.workers={workers} must be at least 1, or null for one per core")
    scorer: CaseMetrics = instantiate(metrics)
    folder = Path(predictions) if predictions else Path(cfg.paths.predictions) / name
    rows, problems = evaluate_folder(cfg, folder, references, convention, scorer, workers)
    file = Path(cfg.paths.evaluation) / f"{name}.csv"
    write_csv(rows, file)
    provenance = {"predictions": str(folder), "references": references, "policy": scorer.policy}
    write_json(file.with_suffix(".json"), provenance)
    terminal.show([means_table(name, rows, build_scheme(cfg).averaged_names, scorer.policy)], Console())
    print(f"{rows['case'].nunique()} cases: {file}")
    if problems:
        examples = "; ".join(f"{case}: {reason}" for case, reason in sorted(problems.items())[:3])
        raise DataError(f"{len(problems)} cases are not scored ({examples}); fix them and run the same command again")


def evaluate_folder(
    cfg: DictConfig, folder: Path, references: str, convention: str | None, scorer: CaseMetrics, workers: int | None
) -> tuple[DataFrame, dict[str, str]]:
    """Score all predictions in `folder`; see `metrics.evaluate.evaluate`.

    Raises:
        ConfigError: `convention` has other regions than the prepared references.
        DataError: no prediction has a reference.
    """
    from brats_ablate.data.folds import fold_of_case
    from brats_ablate.metrics.evaluate import Task, evaluate

    files = find_label_files(folder, layout_of(cfg))
    labels = scheme_named(convention) if convention else build_scheme(cfg)
    if references == "prepared" and not labels.has_regions_of(build_scheme(cfg)):
        raise ConfigError(
            f"job.convention={convention} has other regions than the prepared references, which are of "
            f"labels={cfg.labels.name}; leave it out, or give the references' own files as job.references"
        )
    reference_of = _references(cfg, references, files)
    if not reference_of:
        raise DataError(f"no case of {folder} has a reference in {references}; check job.references and the file names")
    tasks = [Task(case_id, files[case_id], file, labels) for case_id, file in sorted(reference_of.items())]
    rows, problems = evaluate(tasks, scorer, fold_of_case(Path(cfg.paths.prepared)), workers)
    return rows, dict.fromkeys(files.keys() - reference_of.keys(), "it has no reference") | problems


def _references(cfg: DictConfig, references: str, files: Mapping[str, Path]) -> dict[str, Path]:
    """Return the reference of each prediction that has one: a file, or the prepared set itself."""
    if references != "prepared":
        reference_files = find_label_files(Path(references), layout_of(cfg))
        return {case_id: reference_files[case_id] for case_id in files if case_id in reference_files}
    store = open_store(cfg)
    labeled = {c for c in store.case_ids if store.record(c).has_labels}
    return {case_id: Path(cfg.paths.prepared) for case_id in files if case_id in labeled}


def means_table(name: str, rows: DataFrame, averaged: Sequence[str], policy: str) -> Table:
    """Return the mean of every metric over the cases, by region, with the metrics' policy as a note."""
    from brats_ablate.tables.table import Number, Row, Table, Words, headers

    of_region = rows.pivot_table("value", "metric", "region", sort=False)
    means = of_region.assign(mean=of_region[list(averaged)].mean(axis=1))
    cells: list[Row] = [
        (Words(str(metric)), *(Number(value, _format_mean) for value in values))
        for metric, values in zip(means.index, means.to_numpy(float).tolist(), strict=True)
    ]
    return Table(name, f"{name}: means over cases", headers("metric", *means.columns), tuple(cells), (policy,))


def _format_mean(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.4g}"
