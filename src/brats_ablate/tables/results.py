"""Per-case rows of runs and evaluations as DataFrames: what tables, the report and exports are built on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import pandas as pd
from pandas import DataFrame

from brats_ablate.errors import DataError, Unreadable
from brats_ablate.runs.case_table import SIZE, CaseTable
from brats_ablate.runs.state import RunState
from brats_ablate.runtime.files import read_json, readable
from brats_ablate.runtime.output import warn_once
from brats_ablate.tables.scores import RunSummary, experiment_names, load_runs

COLUMNS = ["experiment", "fold", "lr", "seed", "epoch", "case", "region", "metric", "value"]
Epoch = Literal["best", "last", "all"]
PatientOf = Callable[[str], str]
"""Case id -> patient."""
NO_FOLD = -1
"""Value of `fold` for a case of no fold."""
_SIZES = ("reference_voxels", "predicted_voxels")


def results(work: Path, epoch: Epoch = "best") -> DataFrame:
    """Read the validation results of every run; see `brats_ablate.results`.

    Raises:
        DataError: `work` is not a folder.
        ValueError: an unknown `epoch`.
    """
    if epoch not in get_args(Epoch):
        raise ValueError(f"epoch={epoch} must be one of {', '.join(get_args(Epoch))}")
    if not work.is_dir():
        raise DataError(f"{work} is not a folder; name the work folder of a data set, e.g. work/brats21")
    runs = work / "runs" if (work / "runs").is_dir() else work
    summaries = load_runs(runs, experiment_names(runs))
    started = [run for of_experiment in summaries.values() for run in of_experiment]
    rows = case_rows(started, epoch)
    sizes = {tuple(vars(run.coordinates).values()): run.manifest.get("training_cases") for run in started}
    keys = zip(*(rows[key] for key in COLUMNS[:4]), strict=True)
    return rows.assign(training_cases=pd.array([sizes[key] for key in keys], dtype="Int64"))


def case_rows(runs: Iterable[RunSummary], epoch: Epoch = "best") -> DataFrame:
    """Return the per-case rows of `runs` in long form, with `COLUMNS`, in the order of the runs."""
    parts = []
    for run in runs:
        if run.status.state == RunState.UNREADABLE:
            _warn(run.status.reason)
            continue
        with passing_over():
            parts += [_long(run, table) for table in _tables_of_run(run, epoch)]
    return pd.concat(parts, ignore_index=True) if parts else DataFrame(columns=COLUMNS)


def _long(run: RunSummary, table: CaseTable) -> DataFrame:
    """Return one epoch in long form; voxels that are not recorded have no row."""
    keys = [(region, "dice", values) for region, values in table.dice.items()]
    keys += [(region, "reference_voxels", values) for region, values in table.sizes.items()]
    order = sorted(range(len(table.cases)), key=table.cases.__getitem__)
    c = run.coordinates
    long = DataFrame(
        {
            "experiment": c.name, "fold": c.fold, "lr": c.lr, "seed": c.seed, "epoch": table.epoch,
            "case": np.repeat(np.array(table.cases, dtype=object)[order], len(keys)),
            "region": [region for region, _, _ in keys] * len(order),
            "metric": [metric for _, metric, _ in keys] * len(order),
            "value": np.stack([values for _, _, values in keys], axis=1)[order].ravel() if keys else [],
        }
    )  # fmt: skip
    return long[long["value"].notna() | (long["metric"] == "dice")]


def _tables_of_run(run: RunSummary, epoch: Epoch) -> list[CaseTable]:
    metrics = run.best if epoch == "best" else run.last
    epochs = run.validated_epochs if epoch == "all" else [metrics["epoch"]] if metrics else []
    tables = run.directory.case_tables(None if epoch == "all" else set(epochs))
    run.directory.require_cases(tables, epochs)
    require_recorded_regions(run, tables.values())
    return list(tables.values())


def require_recorded_regions(run: RunSummary, tables: Iterable[CaseTable]) -> None:
    """Check that the case records of a run have a Dice of each region that it recorded, and nothing else.

    Every array is a region's: one that a later version added would be taken for another region's Dice. Without recorded
    regions those of the first epoch count.

    Raises:
        Unreadable: an epoch has other regions.
    """
    with readable(run.directory.path / "cases.jsonl", f"delete {run.directory.path} and train the run"):
        regions = run.regions
        for table in tables:
            regions = frozenset(table.dice) if regions is None else regions
            if table.dice.keys() == regions and table.sizes.keys() <= regions:
                continue
            if lacking := sorted(regions - table.dice.keys()):
                raise ValueError(f"no {lacking[0]}")
            other = sorted(table.dice.keys() - regions) + [f"{r}{SIZE}" for r in sorted(table.sizes.keys() - regions)]
            raise ValueError(f"{other[0]} is no region of this run")


@contextmanager
def passing_over() -> Iterator[None]:
    """Go on after a damaged file of cases, whose run then has none, with one warning for each file."""
    try:
        yield
    except Unreadable as error:
        _warn(error)


def _warn(reason: object) -> None:
    warn_once(f"{reason}; until then, its cases are missing here")


def read_evaluation(file: Path) -> DataFrame:
    """Read the rows (case, region, metric, value) that `job=evaluate` wrote.

    Raises:
        DataError: the file lacks a column.
    """
    return read_rows(file, ["case", "region", "metric"], "value", "job=evaluate")


def read_rows(file: Path, texts: list[str], number: str, job: str) -> DataFrame:
    """Read a CSV file that `job` wrote: columns of text, one of numbers, and others; an empty number is NaN.

    Raises:
        DataError: a column is missing.
    """
    rows = pd.read_csv(file, dtype=dict.fromkeys([*texts, number], str), keep_default_na=False)
    for column in (*texts, number):
        if column not in rows:
            raise DataError(f"{file} has no column {column}; write it again with {job}")
    return rows.assign(**{number: rows[number].replace("", "nan").astype(float)})


def evaluated_dice(
    file: Path, fold_of_case: Mapping[str, int], regions: Sequence[str], sized_region: str | None = None
) -> DataFrame:
    """Return the Dice rows of an evaluation, with the fold of each case (or `NO_FOLD`).

    With a `sized_region`, also the rows of its reference volumes, where they are recorded.

    Folds are those of `fold_of_case`; those in the file if it records that they are its own (`job=import`), or if the
    data are not prepared (`fold_of_case` is empty).

    Dice of a region that both lack is 1, as in all columns of a table; metrics=brats2026 leaves it undefined.

    Raises:
        DataError: the file lacks a column, a case lacks a region, or Dice of a region that is not empty is undefined.
    """
    evaluation = read_evaluation(file)
    rows = _of_metric(evaluation, "dice")
    rows = rows[rows["region"].isin(regions)]
    regions_of = rows.groupby("case")["region"].agg(set)
    for region in regions:
        for case in regions_of.index[[region not in present for present in regions_of]]:
            raise DataError(f"{file} has no Dice of {region} for case {case}; write it again with job=evaluate")
    has_voxels = evaluation["metric"].isin(_SIZES) & (evaluation["value"] > 0)
    undefined = rows[rows["value"].isna()].merge(evaluation[has_voxels], on=["case", "region"])
    for case, region in zip(undefined["case"], undefined["region"], strict=True):
        raise DataError(
            f"{file} has no Dice of {region} for case {case}, though the region is not empty in both; let the metrics "
            "define it (0 where one is empty), and write it again with job=evaluate"
        )
    volumes = evaluation[(evaluation["metric"] == _SIZES[0]) & (evaluation["region"] == sized_region)]
    rows = pd.concat([rows.assign(metric="dice", value=rows["value"].fillna(1.0)), volumes], ignore_index=True)
    has_own_folds = bool(read_json(file.with_suffix(".json")).get("folds"))
    if has_own_folds or (not fold_of_case and "fold" in rows):
        return rows.assign(fold=pd.to_numeric(rows["fold"], errors="coerce").fillna(NO_FOLD).astype(int))
    return rows.assign(fold=[fold_of_case.get(case, NO_FOLD) for case in rows["case"]])


def evaluated_hd95(file: Path, regions: Sequence[str]) -> DataFrame:
    """Return the HD95 of an evaluation in mm, (case, region); without the cases that lack a region.

    HD95 of a region that is empty in both is 0, as its Dice is 1 (`evaluated_dice`); metrics=brats2026 leaves it
    undefined. Else a correctly empty prediction would remove the case, with the false positives of other columns.

    Raises:
        DataError: the file lacks a column.
    """
    rows = read_evaluation(file)
    hd95, *sizes = (
        _of_metric(rows, name).pivot_table("value", "case", "region", dropna=False).reindex(columns=list(regions))
        for name in ("hd95", *_SIZES)
    )
    sizes = [size.reindex_like(hd95) for size in sizes]
    return hd95.mask((sizes[0] == 0) & (sizes[1] == 0) & hd95.isna(), 0.0).dropna()


def _of_metric(rows: DataFrame, metric: str) -> DataFrame:
    """Return the rows of a metric; those of its name in other letters, as HD95, only where there is none of its own."""
    is_metric = rows["metric"] == metric
    return rows[is_metric if is_metric.any() else rows["metric"].str.lower() == metric]


def require_regions(name: str, scored: Sequence[str], regions: Sequence[str]) -> None:
    """Check that a run of `name` was scored on `regions`, in any order.

    Raises:
        DataError: it was scored on others.
    """
    if set(scored) != set(regions):
        raise DataError(
            f"a run of {name} was scored on {', '.join(scored)}, not on {', '.join(regions)}; choose the labels option "
            "that it was trained with"
        )


def case_scores(rows: DataFrame, regions: Sequence[str]) -> DataFrame:
    """Average the rows of each case over the runs (seeds) that have it.

    Args:
        rows: case, fold, region, metric and value of one column of a table.
        regions: those of the label scheme.

    Returns:
        One row per case, by case id: Dice of the regions, `fold` (or `NO_FOLD`) and `reference_voxels`, of the
        region by whose size cases are grouped (NaN where not recorded).

    Raises:
        DataError: the rows are of other regions.
    """
    is_dice = rows["metric"] == "dice"
    if len(rows) and (scored := list(dict.fromkeys(rows.loc[is_dice, "region"]))):
        require_regions(rows["experiment"].iloc[0] if "experiment" in rows else "job=evaluate", scored, regions)
    dice = rows[is_dice].groupby(["case", "region"])["value"].mean().unstack().reindex(columns=list(regions))
    folds, sizes = (rows[k].drop_duplicates("case", keep="last").set_index("case") for k in (is_dice, ~is_dice))
    return dice.assign(fold=folds["fold"], reference_voxels=sizes["value"])
