from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from schemes import BRATS2021, GLI2024

from brats_ablate.errors import DataError
from brats_ablate.runs.directory import RunDirectory
from brats_ablate.tables.scores import load_runs
from brats_ablate.tables.tested_scores import (
    ColumnRuns,
    RunScores,
    epochs_under_test,
    gather,
    read_runs,
    shared_set,
)

Write = Callable[..., Any]
KEY = (7e-4, 0)


def _read(runs: Path, patients: dict[str, str] | None = None) -> ColumnRuns:
    return read_runs(load_runs(runs, ["a"])["a"], BRATS2021, lambda case: (patients or {}).get(case, case))


def _write_cases(run: RunDirectory, dice: dict[int, dict[str, tuple[float, float, float]]], voxels: int = 7) -> None:
    (run.path / "cases.jsonl").unlink(missing_ok=True)
    for epoch, of_case in dice.items():
        rows = [{"case": c, "WT": w, "TC": t, "ET": e, "ET_reference": voxels} for c, (w, t, e) in of_case.items()]
        run.append_cases(epoch, rows)


@pytest.mark.parametrize(
    ("validated", "epochs", "expected"),
    [
        (range(1, 1001), 1000, [*range(991, 1001)]),
        (range(10, 1001, 10), 1000, [910, 920, 930, 940, 950, 960, 970, 980, 990, 1000]),
        (range(1, 51), 50, [46, 47, 48, 49, 50]),
        ([1, 2, 3], 3, [3]),
        ([4, 8], 100, [8]),
        ([1, 2, 2, 3], 3, [3]),
    ],
)
def test_epochs_are_the_last_ten_of_the_final_tenth(validated: Any, epochs: int, expected: list[int]) -> None:
    assert epochs_under_test(list(validated), epochs) == expected


def test_a_score_is_the_mean_over_epochs_and_regions(tmp_path: Path, write_run: Write) -> None:
    run = write_run(tmp_path, "a", 3, [0.1] * 20)  # the final tenth: epochs 19 and 20
    _write_cases(run, {18: {"x": (9, 9, 9)}, 19: {"x": (0.1, 0.2, 0.6)}, 20: {"x": (0.5, 0.6, 0.4)}})
    scores = _read(tmp_path)[KEY][3]
    assert scores.patients == ("x",)
    assert scores.dice[0] == pytest.approx((0.9 / 3 + 1.5 / 3) / 2)
    assert (scores.sized_dice[0], scores.sized_voxels[0]) == (pytest.approx(0.5), 7)


def test_after_a_resume_the_later_rows_count(tmp_path: Path, write_run: Write) -> None:
    run = write_run(tmp_path, "a", 0, [0.1] * 20)
    _write_cases(run, {19: {"x": (0, 0, 0)}, 20: {"x": (0, 0, 0)}})
    old = (run.path / "cases.jsonl").read_text()
    _write_cases(run, {19: {"x": (0.3, 0.3, 0.3)}, 20: {"x": (0.5, 0.5, 0.5)}})
    new = (run.path / "cases.jsonl").read_text()
    (run.path / "cases.jsonl").write_text(old + new)
    assert _read(tmp_path)[KEY][0].dice == pytest.approx([0.4])
    (run.path / "cases.jsonl").write_text(old + new[:-5])  # an incomplete last line does not count: epoch 20 is the old
    assert _read(tmp_path)[KEY][0].dice == pytest.approx([0.15])


def test_rows_in_another_order_of_keys_are_read(tmp_path: Path, write_run: Write) -> None:
    run = write_run(tmp_path, "a", 0, [0.1])
    row = {"case": "x", "epoch": 1, "WT": 0.2, "TC": 0.2, "ET": 0.2}
    (run.path / "cases.jsonl").write_text(json.dumps(row) + "\n")
    scores = _read(tmp_path)[KEY][0]
    assert scores.dice == pytest.approx([0.2])
    assert np.isnan(scores.sized_voxels).all()


def test_scans_of_a_patient_are_averaged(tmp_path: Path, write_run: Write) -> None:
    cases = {"p1-0": (0.1, 0.1, 0.1), "p1-1": (0.5, 0.5, 0.5), "p0-0": (0.9, 0.9, 0.9)}
    write_run(tmp_path, "a", 0, [0.1], cases=cases, et_voxels={"p1-0": 0, "p1-1": 30, "p0-0": 5})
    scores = _read(tmp_path, {"p1-0": "p1", "p1-1": "p1"})[KEY][0]
    assert scores.patients == ("p0-0", "p1")
    assert scores.dice == pytest.approx([0.9, 0.3])
    assert scores.sized_voxels.tolist() == [5, 30]


def test_unfinished_runs_and_runs_without_rows_do_not_count(tmp_path: Path, write_run: Write) -> None:
    write_run(tmp_path, "a", 0, [0.1], cases={"x": (0.1, 0.2, 0.3)}, state="running", epochs=9)
    write_run(tmp_path, "a", 1, [0.1])
    assert _read(tmp_path) == {}


def test_other_regions_are_refused(tmp_path: Path, write_run: Write) -> None:
    write_run(tmp_path, "a", 0, [0.1], cases={"x": (0.1, 0.2, 0.3)})
    with pytest.raises(DataError, match="a run of a was scored on WT, TC, ET, not on"):
        read_runs(load_runs(tmp_path, ["a"])["a"], GLI2024, str)


def _run(patients: str, start: float) -> RunScores:
    values = start + np.arange(len(patients))
    return RunScores(tuple(patients), values, values / 100, np.full(len(patients), 9.0))


def test_columns_are_gathered_on_what_they_share() -> None:
    a = {(1.0, 0): {0: _run("abc", 0), 1: _run("de", 10), 2: _run("f", 90)}, (2.0, 0): {0: _run("abc", 20)}}
    b = {(1.0, 0): {1: _run("de", 40), 0: _run("bc", 30)}, (3.0, 0): {0: _run("bc", 1), 1: _run("de", 1)}}
    shared = shared_set(a, b)
    assert (shared.folds, shared.runs, shared.patients) == ((0, 1), ((1.0, 0),), (("b", "c"), ("d", "e")))
    scores = gather(shared, [a, b])
    assert scores.x.tolist() == [[[1, 2, 10, 11]], [[30, 31, 40, 41]]]
    assert scores.fold.tolist() == [0, 0, 1, 1]
    assert scores.sized_dice.tolist() == [[0.01, 0.02, 0.1, 0.11], [0.3, 0.31, 0.4, 0.41]]
