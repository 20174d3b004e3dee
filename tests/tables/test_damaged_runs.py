"""A damaged file of one run leaves the tables of all others, and is named."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from schemes import BRATS2021, REGIONS
from table_results import result_of

from brats_ablate.runs.directory import find_runs
from brats_ablate.tables import results
from brats_ablate.tables.scores import load_runs
from brats_ablate.tables.spec import Column, TableSpec
from brats_ablate.tables.tabulate import tabulate
from brats_ablate.tables.tested_scores import read_runs

Write = Callable[..., Any]
CASES = {f"c{i}": (0.5 + 0.01 * i, 0.4, 0.3) for i in range(4)}
WRONG = {"empty": b"", "garbage": b"[1, }\n", "binary": bytes(range(256)) + b"\n", "other": b"[1, 2]\n"}


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("name", ["status.json", "manifest.json", "metrics.jsonl", "cases.jsonl"])
def test_the_other_runs_are_tabulated(
    tmp_path: Path, write_run: Write, capsys: pytest.CaptureFixture[str], name: str, wrong: str
) -> None:
    for experiment in ("a", "b"):
        for fold in range(3):
            write_run(tmp_path, experiment, fold, [0.5, 0.6], cases={f"f{fold}{c}": d for c, d in CASES.items()})
    file = next((tmp_path / "b" / "fold=1").rglob(name))
    file.write_bytes(WRONG[wrong])
    spec = TableSpec("t", "T", None, "a", (Column("A", "a", None, None), Column("B", "b", None, None)))
    result = result_of(tmp_path, spec, folds=3)
    text = "\n".join(note for table in tabulate(result) for note in table.notes)
    values = [score.value for score in result.columns[1].scores.per_fold_lr.folds]
    assert result.columns[0].scores.per_fold_lr.mean == pytest.approx(0.6)
    assert (values[0], values[2]) == pytest.approx((0.6, 0.6))
    is_log = name.endswith(".jsonl")
    if is_log and wrong == "empty":  # as of a run that was killed early
        return
    if name == "cases.jsonl":
        assert values[1] == pytest.approx(0.6)
        assert capsys.readouterr().err.count(str(file)) == 1
    else:
        assert values[1] is None
        assert text.count(f"! b fold=1 lr=0.0007 seed=0: {file} is damaged") == 1


OTHER_ROWS = {
    "a key of a later version": ({"later": 1}, "later is no region of this run"),
    "its size": ({"later_reference": 1}, "later_reference is no region of this run"),
    "no region": ({"ET": ...}, "no ET"),
    "text": ({"WT": "high"}, "WT is 'high'"),
}


@pytest.mark.parametrize("other", OTHER_ROWS)
@pytest.mark.parametrize(
    "identity", [{"data.convention": "brats2021"}, {f"data.convention.regions.{r}": [] for r in REGIONS}]
)
def test_rows_of_other_keys_than_the_recorded_regions_leave_their_run_out(
    tmp_path: Path, write_run: Write, capsys: pytest.CaptureFixture[str], other: str, identity: dict[str, object]
) -> None:
    for fold in range(3):
        cases = {f"f{fold}{c}": d for c, d in CASES.items()}
        write_run(tmp_path, "a", fold, [0.5], cases=cases, manifest={"identity": identity})
    (run,) = (each for each in find_runs(tmp_path) if each.coordinates.fold == 1)
    file = run.path / "cases.jsonl"
    change, reason = OTHER_ROWS[other]
    rows = [row | change for row in run.cases()]  # in the form of version 0.1.0
    kept = [{key: value for key, value in row.items() if value is not ...} for row in rows]
    file.write_text("".join(json.dumps(row) + "\n" for row in kept))
    runs = load_runs(tmp_path, ["a"])
    assert set(results.case_rows(runs["a"])["fold"]) == {0, 2}
    assert set(results.case_rows(runs["a"], "all")["fold"]) == {0, 2}
    (of_folds,) = read_runs(runs["a"], BRATS2021, str).values()
    assert set(of_folds) == {0, 2}
    sentence = capsys.readouterr().err
    assert sentence.count("brats-ablate: ") == 1
    assert f"{file} is damaged, or of a later version ({reason})" in sentence


@pytest.mark.parametrize("change", [{"dice": "high"}, {"seconds": [1]}, {"epoch": "1"}, {"epoch": None}])
def test_metrics_that_are_no_numbers_leave_their_run_out(
    tmp_path: Path, write_run: Write, change: dict[str, object]
) -> None:
    run = write_run(tmp_path, "a", 0, [0.5], cases=CASES)
    row = run.metrics()[0]
    (run.path / "metrics.jsonl").write_text(json.dumps(row | {"later": "text"}) + "\n")
    assert load_runs(tmp_path, ["a"])["a"][0].is_finished  # nothing depends on a key of a later version
    (run.path / "metrics.jsonl").write_text(json.dumps(row | change) + "\n")
    (summary,) = load_runs(tmp_path, ["a"])["a"]
    assert summary.status.state == "unreadable"
    (key, value) = next(iter(change.items()))
    assert f"metrics.jsonl is damaged, or of a later version ({key} is {value!r})" in str(summary.status.reason)


@pytest.mark.parametrize("name", ["metrics.jsonl", "cases.jsonl"])
@pytest.mark.parametrize("lost", [1, 20])
def test_a_run_whose_last_epochs_are_lost_is_left_out(
    tmp_path: Path, write_run: Write, capsys: pytest.CaptureFixture[str], name: str, lost: int
) -> None:
    """As by a copy that ended early, of whose last line nothing or a part is there."""
    dice = np.linspace(0.5, 0.6, 30).tolist()
    for fold in range(3):
        write_run(tmp_path, "a", fold, dice, cases={f"f{fold}{c}": d for c, d in CASES.items()})
    file = next((tmp_path / "a" / "fold=1").rglob(name))
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(b"".join(lines[:-lost]) + lines[-lost][:20])
    runs = load_runs(tmp_path, ["a"])["a"]
    (of_folds,) = read_runs(runs, BRATS2021, str).values()
    assert set(of_folds) == {0, 2}
    if name == "cases.jsonl":
        results.case_rows(runs)
        error = capsys.readouterr().err
        assert error.count(f"{file} is damaged, or of a later version (it lacks the cases of validated epochs)") == 1
    else:
        assert runs[1].status.reason is not None
        assert (
            f"{file} is damaged, or of a later version (it ends with epoch {30 - lost} of 30)" in runs[1].status.reason
        )
