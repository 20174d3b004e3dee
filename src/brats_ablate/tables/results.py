"""Per-case rows of runs and evaluations as DataFrames: what tables, the report and exports are built on.

`cases.jsonl` grows by one line per validated epoch and case: 1,000 epochs of 250 cases are 20 MB. Where one epoch is
wanted, the file is searched for its lines instead of being parsed.
"""

from __future__ import annotations

import json
import mmap
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd
from pandas import DataFrame

from brats_ablate.errors import DataError, Unreadable
from brats_ablate.runs.directory import RunDirectory
from brats_ablate.runtime.files import readable
from brats_ablate.tables.scores import RunSummary, experiment_names, load_runs

COLUMNS = ["experiment", "fold", "lr", "seed", "epoch", "case", "region", "metric", "value"]
SIZE = "_reference"
"""End of the key, after a region's name, of the reference's voxels in a record of `cases.jsonl`."""
Epoch = Literal["best", "last", "all"]
PatientOf = Callable[[str], str]
"""Case id -> patient."""


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
    records = []
    for run in runs:
        with passing_over():
            records += [(run.coordinates, row) for row in _rows_of_run(run, epoch)]
    heads = [(c.name, c.fold, c.lr, c.seed, row["epoch"], row["case"]) for c, row in records]
    keys = list(dict.fromkeys(key for _, row in records for key in row if key not in ("epoch", "case")))
    regions = tuple(key.removesuffix(SIZE) for key in keys)
    metrics = tuple("reference_voxels" if key.endswith(SIZE) else "dice" for key in keys)
    wide = DataFrame.from_records(heads, columns=COLUMNS[:6])
    values = np.array([row.get(key) for _, row in records for key in keys], dtype=float)
    scored = np.array([key in row for _, row in records for key in keys], dtype=bool)  # runs may differ in regions
    long = wide.loc[wide.index.repeat(len(keys))].assign(
        region=regions * len(records), metric=metrics * len(records), value=values
    )
    return long[long["value"].notna() | ((long["metric"] == "dice") & scored)].reset_index(drop=True)


def _rows_of_run(run: RunSummary, epoch: Epoch) -> list[dict[str, Any]]:
    if epoch == "all":
        rows = run.directory.cases()
    else:
        metrics = run.best if epoch == "best" else run.last
        rows = rows_at_epoch(run.directory, metrics["epoch"]) if metrics else []
    require_recorded_regions(run, rows)
    return rows


def require_recorded_regions(run: RunSummary, rows: Iterable[Mapping[str, Any]]) -> None:
    """Check that case rows of a run have a number, or null, for each region that it recorded, and no other key.

    Every key of a row is a region's: one that a later version added would be taken for another region's Dice. Without
    recorded regions those of the first row count.

    Raises:
        Unreadable: a row has other keys, or another value.
    """
    with readable(run.directory.path / "cases.jsonl", f"delete {run.directory.path} and train the run"):
        regions = run.regions
        for row in rows:
            values = {key: value for key, value in row.items() if key not in ("epoch", "case")}
            scored = frozenset(key for key in values if not key.endswith(SIZE))
            regions = scored if regions is None else regions
            if other := sorted(regions ^ scored | {k for k in values if k.removesuffix(SIZE) not in regions}):
                raise ValueError(f"{other[0]} is no region of this run" if other[0] in row else f"no {other[0]}")
            if other := [key for key, value in values.items() if not isinstance(value, int | float | None)]:
                raise TypeError(f"{other[0]} is {values[other[0]]!r}")


def rows_at_epoch(directory: RunDirectory, epoch: int) -> list[dict[str, Any]]:
    """Return the per-case records of one validated epoch, by case id.

    The records of an epoch are written together; where a resumed run validated it again, the later block counts.
    """
    file = directory.path / "cases.jsonl"
    if not file.exists() or file.stat().st_size == 0:
        return []
    with file.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
        lines = _last_block(content, b'{"epoch": %d, ' % epoch)
    if not lines:  # keys in another order, e.g. records written by hand
        return [row for row in directory.cases() if row["epoch"] == epoch]
    with readable(file):
        return sorted(map(json.loads, lines), key=lambda row: str(row["case"]))


def rows_from_epoch(directory: RunDirectory, first: int) -> dict[int, dict[str, dict[str, Any]]]:
    """Return the per-case records of validated epoch `first` and of those after it: epoch → case id → record.

    Only the end of the file is parsed. Where a resumed run validated an epoch again, the later records count.
    """
    file = directory.path / "cases.jsonl"
    if not file.exists() or file.stat().st_size == 0:
        return {}
    with file.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
        block = _last_block(content, b'{"epoch": %d, ' % first)
        start = content.rfind(block[-1]) if block else -1
        end = content.rfind(b"\n") + 1
        tail = content[start:end] if block else b""
    # One array parses faster than one line after another. Without a block: keys in another order, written by hand.
    with readable(file):
        records = json.loads(b"[%s]" % tail.rstrip().replace(b"\n", b",")) if tail else directory.cases()
        rows: dict[int, dict[str, dict[str, Any]]] = {}
        for row in records:
            if row["epoch"] >= first:
                rows.setdefault(row["epoch"], {})[row["case"]] = row
        return rows


@contextmanager
def passing_over() -> Iterator[None]:
    """Go on after a damaged file of cases, whose run then has none, with one warning for each file."""
    try:
        yield
    except Unreadable as error:
        _warn_once(str(error))


@lru_cache
def _warn_once(sentence: str) -> None:
    print(f"brats-ablate: {sentence}; until then, its cases are missing here", file=sys.stderr)


def _last_block(content: mmap.mmap, start: bytes) -> list[bytes]:
    """Return the last run of adjacent complete lines that begin with `start`."""
    lines: list[bytes] = []
    at = content.rfind(start)
    while at >= 0 and content[at : at + len(start)] == start and (at == 0 or content[at - 1 : at] == b"\n"):
        end = content.find(b"\n", at)
        if end >= 0:
            lines.append(content[at:end])
        at = content.rfind(b"\n", 0, at - 1) + 1 if at > 0 else -1
    return lines


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


def evaluated_dice(file: Path, fold_of_case: Mapping[str, int], regions: Sequence[str]) -> DataFrame:
    """Return the Dice rows of an evaluation, with the fold of each case (-1 where unknown).

    Dice of a region that both lack is 1, as in all columns of a table; metrics=brats2026 leaves it undefined.

    Raises:
        DataError: the file lacks a column, or a case lacks a region.
    """
    rows = read_evaluation(file)
    rows = rows[(rows["metric"].str.lower() == "dice") & rows["region"].isin(regions)]
    regions_of = rows.groupby("case")["region"].agg(set)
    for region in regions:
        for case in regions_of.index[[region not in present for present in regions_of]]:
            raise DataError(f"{file} has no Dice of {region} for case {case}; write it again with job=evaluate")
    rows = rows.assign(value=rows["value"].fillna(1.0))
    return rows.assign(metric="dice", fold=[fold_of_case.get(case, -1) for case in rows["case"]])


def evaluated_hd95(file: Path, regions: Sequence[str]) -> DataFrame:
    """Return the HD95 of an evaluation in mm, (case, region); without the cases that lack a region.

    Raises:
        DataError: the file lacks a column.
    """
    rows = read_evaluation(file)
    of_case = rows[rows["metric"].str.lower() == "hd95"].pivot_table("value", "case", "region")
    return of_case.reindex(columns=list(regions)).dropna()


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
        One row per case, by case id: Dice of the regions, `fold` (-1 where unknown) and `reference_voxels`, of the
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
