from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from brats_ablate.errors import DataError
from brats_ablate.tables.case_scores import of_column, read_evaluation, rows_of_epoch
from brats_ablate.tables.run_summary import load_runs
from brats_ablate.tables.scores import score

Write = Callable[..., Any]


def test_rows_of_an_epoch_are_those_that_the_run_directory_parses(tmp_path: Path, write_run: Write) -> None:
    run = write_run(tmp_path, "a", 0, [0.1] * 12, cases={"x": (0.1, 0.2, 0.3), "y": (0.4, 0.5, 0.6)})
    again = [{"epoch": 1, "case": case, "WT": 1.0, "TC": 1.0, "ET": 1.0} for case in "xy"]
    run.append("cases.jsonl", again)  # after a resume
    for epoch in (1, 2, 12):
        assert rows_of_epoch(run, epoch) == [row for row in run.cases() if row["epoch"] == epoch]
    assert rows_of_epoch(run, 1)[0]["WT"] == 1.0


def test_a_line_that_is_still_being_written_is_left_out(tmp_path: Path, write_run: Write) -> None:
    run = write_run(tmp_path, "a", 0, [0.1, 0.2], cases={"x": (0.1, 0.2, 0.3), "y": (0.4, 0.5, 0.6)})
    file = run.path / "cases.jsonl"
    file.write_bytes(file.read_bytes()[:-5])
    assert [row["case"] for row in rows_of_epoch(run, 2)] == ["x"]


def test_rows_with_keys_in_another_order_are_found(tmp_path: Path, write_run: Write) -> None:
    run = write_run(tmp_path, "a", 0, [0.1])
    run.append("cases.jsonl", [{"case": "x", "epoch": 1, "WT": 1.0, "TC": 1.0, "ET": 1.0}])
    assert [row["case"] for row in rows_of_epoch(run, 1)] == ["x"]


def test_seeds_of_a_case_are_averaged(tmp_path: Path, write_run: Write) -> None:
    write_run(tmp_path, "a", 0, [0.9], seed=0, cases={"x": (0.2, 0.4, 1.0)}, et_voxels={"x": 7})
    write_run(tmp_path, "a", 0, [0.9], seed=1, cases={"x": (0.4, 0.6, 0.0)}, et_voxels={"x": 7})
    rows = of_column(score(load_runs(tmp_path, ["a"])["a"], 1).best_lr)
    assert rows is not None
    np.testing.assert_allclose(rows.dice, [[0.3, 0.5, 0.5]])
    assert rows.et_reference.tolist() == [7]


def test_no_rows_are_none(tmp_path: Path, write_run: Write) -> None:
    write_run(tmp_path, "a", 0, [0.9])
    assert of_column(score(load_runs(tmp_path, ["a"])["a"], 1).best_lr) is None


def test_evaluation_rows_are_dice_by_case_and_fold(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    values = {"WT": 0.9, "TC": 0.8, "ET": 0.7}
    lines = [f"{case},{r},{metric},{v}" for case in "yx" for r, v in values.items() for metric in ("dice", "hd95")]
    file.write_text("\n".join(["case,region,metric,value", *lines]))
    rows = read_evaluation(file, {"x": 3})
    assert rows is not None
    assert rows.cases == ("x", "y")
    assert rows.folds.tolist() == [3, -1]
    np.testing.assert_allclose(rows.dice, [[0.9, 0.8, 0.7]] * 2)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [("case,region,value\nx,WT,1", "no column metric"), ("case,region,metric,value\nx,WT,dice,1", "no Dice of TC")],
)
def test_an_incomplete_evaluation_is_told(tmp_path: Path, text: str, sentence: str) -> None:
    file = tmp_path / "a.csv"
    file.write_text(text)
    with pytest.raises(DataError, match=sentence):
        read_evaluation(file, {})
