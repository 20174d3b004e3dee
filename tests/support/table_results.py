"""Table results as `job=tables` builds them, from runs and evaluations that tests wrote."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from schemes import BRATS2021

from brats_ablate.labels.scheme import LabelScheme
from brats_ablate.tables.build import ResultsStore, TableResult, build
from brats_ablate.tables.scores import load_runs
from brats_ablate.tables.spec import TableSpec


def result_of(
    runs: Path,
    spec: TableSpec,
    *,
    folds: int = 5,
    resamples: int = 200,
    fold_of: Mapping[str, int] | None = None,
    labels: LabelScheme = BRATS2021,
    **options: float,
) -> TableResult:
    """Build one table of the runs in a folder, and of the evaluations in its subfolder `evaluation`; `options` of `build`."""
    loaded = load_runs(runs, [c.experiment for c in spec.columns if c.experiment])
    store = ResultsStore(loaded, runs / "evaluation", fold_of or {}, labels)
    return build([spec], store, folds=folds, resamples=resamples, seed=0, **options)[0]


def write_values(file: Path, rows: Iterable[str]) -> None:
    """Write an evaluation of no fold: `write_values(file, ["case0,WT,dice,0.9"])`."""
    file.parent.mkdir(exist_ok=True)
    file.write_text("\n".join(["case,region,metric,value", *rows]) + "\n")
