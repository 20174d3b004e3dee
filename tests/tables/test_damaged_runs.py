"""A damaged file of one run leaves the tables of all others, and is named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from schemes import BRATS2021

from brats_ablate.tables import results
from brats_ablate.tables.build import ResultsStore, build
from brats_ablate.tables.scores import load_runs
from brats_ablate.tables.spec import Column, TableSpec
from brats_ablate.tables.tabulate import tabulate

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
    results._warn_once.cache_clear()
    spec = TableSpec("t", "T", None, "a", (Column("A", "a", None, None), Column("B", "b", None, None)))
    store = ResultsStore(load_runs(tmp_path, ["a", "b"]), tmp_path / "evaluation", {}, BRATS2021)
    (result,) = build([spec], store, folds=3, resamples=100, seed=0)
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
