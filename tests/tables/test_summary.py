"""The summary at the end of a sweep: means over the folds that the columns share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from table_results import result_of

from brats_ablate.tables.build import TableResult
from brats_ablate.tables.spec import Column, TableSpec
from brats_ablate.tables.summary import summary_tables


def sweep_of(runs: Path, *names: str) -> TableResult:
    columns = tuple(Column(name, name, None, None) for name in names)
    return result_of(runs, TableSpec("sweep", "Variants of baseline", None, names[0], columns))


def cells(result: TableResult) -> list[list[str]]:
    return [[cell.text for cell in row] for row in summary_tables(result)[0].rows]


def test_means_are_over_the_folds_that_all_columns_have(tmp_path: Path, write_run: Callable[..., object]) -> None:
    for fold, dice in enumerate((0.6, 0.7, 0.8)):
        write_run(tmp_path, "baseline", fold, [dice])
    for fold, dice in enumerate((0.7, 0.9)):
        write_run(tmp_path, "ds", fold, [dice])
    write_run(tmp_path, "ds", 2, [0.5], state="failed", epochs=9)
    write_run(tmp_path, "focal", 0, [0.5], state="failed", epochs=9)
    result = sweep_of(tmp_path, "baseline", "ds", "focal")
    shown = {row[0]: (row[1], row[-1]) for row in cells(result)}
    assert shown["baseline"] == ("0.6500", "baseline")
    assert shown["ds"][0] == "0.8000"
    assert shown["focal"][0] == "no finished run"
    assert summary_tables(result)[0].notes[0].startswith("Mean Dice over folds 0, 1: ")


def test_a_single_column_has_its_mean_alone(tmp_path: Path, write_run: Callable[..., object]) -> None:
    write_run(tmp_path, "ds", 3, [0.75])
    assert cells(sweep_of(tmp_path, "ds")) == [["ds", "0.7500"]]


def test_columns_without_a_common_fold_have_no_mean(tmp_path: Path, write_run: Callable[..., object]) -> None:
    write_run(tmp_path, "baseline", 0, [0.6])
    write_run(tmp_path, "ds", 1, [0.7])
    assert [row[1] for row in cells(sweep_of(tmp_path, "baseline", "ds"))] == ["no common fold"] * 2


def test_columns_of_different_cases_have_no_best_one(tmp_path: Path, write_run: Callable[..., object]) -> None:
    for name, dice, case in (("baseline", 0.6, "a"), ("ds", 0.7, "b")):
        write_run(tmp_path, name, 0, [dice], cases={case: (dice, dice, dice)})
    rows = summary_tables(sweep_of(tmp_path, "baseline", "ds"))[0].rows
    assert [row[1].mark for row in rows] == ["", ""]


def test_a_run_whose_record_is_damaged_is_named(tmp_path: Path, write_run: Callable[..., object]) -> None:
    for seed in (0, 1):
        write_run(tmp_path, "ds", 0, [0.6, 0.7], seed=seed)
    file = tmp_path / "ds/fold=0/lr=0.0007/seed=1/metrics.jsonl"
    file.write_text(file.read_text().splitlines()[0] + "\n")
    result = sweep_of(tmp_path, "ds")
    assert cells(result) == [["ds", "0.7000"]]
    assert summary_tables(result)[0].notes[-1].startswith(f"! ds fold=0 lr=0.0007 seed=1: {file} is damaged, or of a ")
