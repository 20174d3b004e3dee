from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from schemes import REGIONS
from table_results import write_values

import brats_ablate
from brats_ablate.errors import DataError
from brats_ablate.tables.results import (
    COLUMNS,
    case_rows,
    case_scores,
    evaluated_dice,
    evaluated_hd95,
    read_evaluation,
)
from brats_ablate.tables.scores import load_runs, score

Write = Callable[..., Any]
CASES = {"x": (0.1, 0.2, 0.3), "y": (0.4, 0.5, 0.6)}


def _case_scores(runs: Path) -> pd.DataFrame:
    return case_scores(case_rows(score(load_runs(runs, ["a"])["a"], 1).per_fold_lr.runs), REGIONS)


def test_results_are_one_row_per_run_case_region_and_metric(tmp_path: Path, write_run: Write) -> None:
    write_run(tmp_path / "runs", "a", 1, [0.1, 0.3, 0.2], lr=5e-5, seed=2, cases=CASES, et_voxels={"x": 7, "y": 0})
    recorded = {"training_cases": 12}
    write_run(tmp_path / "runs", "b", 0, [0.1], cases=CASES, state="running", epochs=9, manifest=recorded)
    rows = brats_ablate.results(tmp_path)
    assert list(rows.columns) == [*COLUMNS, "training_cases"]
    numbers = rows.drop(columns=["experiment", "case", "region", "metric"]).dtypes.astype(str)
    assert dict(numbers) == {"fold": "int64", "lr": "float64", "seed": "int64", "epoch": "int64", "value": "float64",
                             "training_cases": "Int64"}  # fmt: skip
    first = rows[rows["experiment"] == "a"]
    assert first[["fold", "lr", "seed", "epoch"]].drop_duplicates().to_numpy().tolist() == [[1, 5e-5, 2, 2]]
    assert first[["case", "region", "metric", "value"]].to_numpy().tolist() == [
        ["x", "WT", "dice", 0.1], ["x", "TC", "dice", 0.2], ["x", "ET", "dice", 0.3], ["x", "ET", "reference_voxels", 7],
        ["y", "WT", "dice", 0.4], ["y", "TC", "dice", 0.5], ["y", "ET", "dice", 0.6], ["y", "ET", "reference_voxels", 0],
    ]  # fmt: skip
    assert (rows["experiment"] == "b").sum() == 6  # an unfinished run counts, without the voxels that it lacks
    sizes = rows.groupby("experiment")["training_cases"].agg(lambda of_run: set(of_run.dropna()))
    assert dict(sizes) == {"a": set(), "b": {12}}
    assert rows.equals(brats_ablate.results(tmp_path / "runs"))
    assert rows.equals(brats_ablate.results(str(tmp_path)))


def test_results_of_other_epochs(tmp_path: Path, write_run: Write) -> None:
    write_run(tmp_path, "a", 0, [0.1, 0.3, 0.2], cases=CASES)
    epochs = {epoch: brats_ablate.results(tmp_path, epoch)["epoch"].unique().tolist() for epoch in ("last", "all")}
    assert epochs == {"last": [3], "all": [1, 2, 3]}
    with pytest.raises(ValueError, match="must be one of best, last, all"):
        brats_ablate.results(tmp_path, "first")


def test_no_results_are_an_empty_frame_and_no_folder_an_error(tmp_path: Path, write_run: Write) -> None:
    write_run(tmp_path, "a", 0, [])
    assert list(brats_ablate.results(tmp_path).columns) == [*COLUMNS, "training_cases"]
    assert brats_ablate.results(tmp_path).empty
    with pytest.raises(DataError, match="not a folder"):
        brats_ablate.results(tmp_path / "nowhere")


def test_seeds_of_a_case_are_averaged(tmp_path: Path, write_run: Write) -> None:
    write_run(tmp_path, "a", 0, [0.9], seed=0, cases={"x": (0.2, 0.4, 1.0)}, et_voxels={"x": 7})
    write_run(tmp_path, "a", 0, [0.9], seed=1, cases={"x": (0.4, 0.6, 0.0)}, et_voxels={"x": 7})
    scores = _case_scores(tmp_path)
    np.testing.assert_allclose(scores[["WT", "TC", "ET"]], [[0.3, 0.5, 0.5]])
    assert scores["reference_voxels"].tolist() == [7]


def test_no_rows_have_no_scores(tmp_path: Path, write_run: Write) -> None:
    write_run(tmp_path, "a", 0, [0.9])
    assert _case_scores(tmp_path).empty


def test_evaluation_rows_are_dice_by_case_and_fold(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    values = {"WT": 0.9, "TC": 0.8, "ET": 0.7}
    lines = [f"{case},{r},{metric},{v}" for case in "yx" for r, v in values.items() for metric in ("dice", "hd95")]
    write_values(file, lines)
    scores = case_scores(evaluated_dice(file, {"x": 3}, REGIONS), REGIONS)
    assert scores.index.tolist() == ["x", "y"]
    assert scores["fold"].tolist() == [3, -1]
    np.testing.assert_allclose(scores[["WT", "TC", "ET"]], [[0.9, 0.8, 0.7]] * 2)


def test_without_prepared_data_the_folds_are_those_that_were_recorded(tmp_path: Path) -> None:
    lines = [f"{case},{fold},{r},dice,0.5" for case, fold in (("x", "3"), ("y", "")) for r in REGIONS]
    (tmp_path / "a.csv").write_text("\n".join(["case,fold,region,metric,value", *lines]))
    for folds, expected in (({}, [3, -1]), ({"x": 0}, [0, -1])):
        scores = case_scores(evaluated_dice(tmp_path / "a.csv", folds, REGIONS), REGIONS)
        assert scores["fold"].tolist() == expected


def test_hd95_of_a_region_that_is_empty_in_both_is_zero(tmp_path: Path) -> None:
    """Undefined by metrics=brats2026; without it, other columns would lose their false positives of this case."""
    voxels = {"both": (0, 0), "invented": (0, 5), "found": (5, 5)}
    lines = [f"{case},{r},hd95,{'' if case == 'both' and r == 'ET' else 3}" for case in voxels for r in REGIONS]
    for case, (reference, predicted) in voxels.items():
        lines += [f"{case},{r},reference_voxels,{reference}" for r in REGIONS]
        lines += [f"{case},{r},predicted_voxels,{predicted}" for r in REGIONS]
    lines += [f"unknown,{r},hd95,{'' if r == 'ET' else 3}" for r in REGIONS]
    write_values(tmp_path / "a.csv", lines)
    write_values(tmp_path / "none.csv", ["x,ET,dice,1"])
    assert evaluated_hd95(tmp_path / "none.csv", REGIONS).empty
    hd95 = evaluated_hd95(tmp_path / "a.csv", REGIONS)
    assert hd95["ET"].to_dict() == {"both": 0, "invented": 3, "found": 3}
    assert hd95["WT"].to_dict() == {"both": 3, "invented": 3, "found": 3}


def test_an_evaluation_is_read_as_written(tmp_path: Path) -> None:
    value = 0.1 + 0.2
    file = tmp_path / "a.csv"
    file.write_text(f"case,fold,region,metric,value\n00008,,ET,dice,{value!r}\nNA,1,ET,dice,1\n")
    rows = read_evaluation(file)
    assert rows["case"].tolist() == ["00008", "NA"]
    assert rows["value"].tolist() == [value, 1.0]
    assert pd.api.types.is_float_dtype(rows["value"])


def test_undefined_values_are_read_and_count_as_agreement_in_tables(tmp_path: Path) -> None:
    """metrics=brats2026 leaves Dice of a region that both lack empty, and scores tissues that are no region."""
    lines = ["x,WT,dice,0.5", "x,TC,dice,0.25", "x,ET,dice,", "x,NCR,dice,0.125", "x,ET,hd95,"]
    write_values(tmp_path / "e.csv", lines)
    rows = read_evaluation(tmp_path / "e.csv")
    assert rows["value"].isna().tolist() == [False, False, True, False, True]
    dice = evaluated_dice(tmp_path / "e.csv", {}, REGIONS)
    assert dict(zip(dice["region"], dice["value"], strict=True)) == {"WT": 0.5, "TC": 0.25, "ET": 1.0}


def test_an_undefined_dice_of_a_region_that_one_has_is_refused(tmp_path: Path) -> None:
    """Else the false positives of a scorer that leaves them undefined would count as agreement."""
    text = "\n".join(f"x,{region},dice," for region in REGIONS)
    for sizes in ("reference_voxels,0\nx,ET,predicted_voxels,5", "reference_voxels,5\nx,ET,predicted_voxels,0"):
        (tmp_path / "e.csv").write_text(f"case,region,metric,value\n{text}\nx,ET,{sizes}\n")
        with pytest.raises(DataError, match="no Dice of ET for case x, though the region is not empty in both"):
            evaluated_dice(tmp_path / "e.csv", {}, REGIONS)


def test_a_metric_in_other_letters_is_not_averaged_into_the_one_of_the_name(tmp_path: Path) -> None:
    names = (("dice", 0.5), ("Dice", 0.0), ("hd95", 3), ("HD95", 9))
    lines = [f"x,{r},{metric},{value}" for r in REGIONS for metric, value in names]
    (tmp_path / "both.csv").write_text("\n".join(["case,region,metric,value", *lines]))
    (tmp_path / "other.csv").write_text("\n".join(["case,region,metric,value", *lines[1::2]]))
    for name, dice, hd95 in (("both", 0.5, 3), ("other", 0.0, 9)):
        assert evaluated_dice(tmp_path / f"{name}.csv", {}, REGIONS)["value"].tolist() == [dice] * 3
        assert evaluated_hd95(tmp_path / f"{name}.csv", REGIONS).loc["x"].tolist() == [hd95] * 3


@pytest.mark.parametrize(
    ("text", "sentence"),
    [("case,region,value\nx,WT,1", "no column metric"), ("case,region,metric,value\nx,WT,dice,1", "no Dice of TC")],
)
def test_an_incomplete_evaluation_is_reported(tmp_path: Path, text: str, sentence: str) -> None:
    file = tmp_path / "a.csv"
    file.write_text(text)
    with pytest.raises(DataError, match=sentence):
        evaluated_dice(file, {}, REGIONS)


def test_results_have_the_regions_of_each_run(tmp_path: Path, write_run: Write) -> None:
    write_run(
        tmp_path, "a", 0, [0.1], cases={"x": (0.1, 0.2, 0.3, 0.4)}, regions=("WT", "TC", "ET", "RC"), et_voxels={"x": 7}
    )
    write_run(tmp_path, "b", 0, [0.1], cases={"y": (0.5,)}, regions=("GTV",), et_voxels={"y": 8})
    rows = brats_ablate.results(tmp_path)
    assert rows[["experiment", "case", "region", "metric", "value"]].to_numpy().tolist() == [
        ["a", "x", "WT", "dice", 0.1], ["a", "x", "TC", "dice", 0.2], ["a", "x", "ET", "dice", 0.3],
        ["a", "x", "RC", "dice", 0.4], ["a", "x", "ET", "reference_voxels", 7],
        ["b", "y", "GTV", "dice", 0.5], ["b", "y", "GTV", "reference_voxels", 8],
    ]  # fmt: skip


@pytest.mark.parametrize("epoch", ["best", "last", "all"])
def test_results_name_a_run_that_they_leave_out(
    tmp_path: Path, write_run: Write, capsys: pytest.CaptureFixture[str], epoch: str
) -> None:
    for fold in (0, 1):
        write_run(tmp_path, "a", fold, [0.1, 0.2], cases={f"x{fold}": (0.1, 0.2, 0.3)})
    file = tmp_path / "a/fold=1/lr=0.0007/seed=0/metrics.jsonl"
    file.write_text(file.read_text().splitlines()[0] + "\n")
    assert brats_ablate.results(tmp_path, epoch)["case"].unique().tolist() == ["x0"]
    assert capsys.readouterr().err.count(f"{file} is damaged, or of a later version (it ends with epoch 1 of 2)") == 1


def test_an_evaluation_of_one_region_is_read(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_text("case,region,metric,value\nx,GTV,dice,0.5\nx,GTV,reference_voxels,9\n")
    scores = case_scores(evaluated_dice(file, {}, ["GTV"]), ["GTV"])
    assert scores.columns.tolist() == ["GTV", "fold", "reference_voxels"]
    assert scores["GTV"].tolist() == [0.5]


@pytest.mark.parametrize("regions", [["WT", "TC"], ["WT", "TC", "ET", "RC"], ["GTV"]])
def test_scores_of_other_regions_are_refused(tmp_path: Path, write_run: Write, regions: list[str]) -> None:
    write_run(tmp_path, "a", 0, [0.1], cases=CASES)
    rows = case_rows(load_runs(tmp_path, ["a"])["a"])
    with pytest.raises(DataError, match=f"a run of a was scored on WT, TC, ET, not on {', '.join(regions)}; choose"):
        case_scores(rows, regions)
    assert len(case_scores(rows, ["ET", "WT", "TC"])) == 2
