from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from brats_ablate.tables.published import is_papers_cohort, is_papers_schedule
from brats_ablate.tables.scores import load_runs
from brats_ablate.tables.spec import Column, PaperFigures, TableSpec

Write = Callable[..., Any]
SPEC = TableSpec(
    "t", "T", None, None, (Column("DS", "ds", None, PaperFigures((0.9,), 0.9)), Column("U", "u", None, None))
)


@pytest.mark.parametrize(
    ("data", "folds", "cases", "expected"),
    [
        ("brats21", 5, 1251, True),
        ("brats21", 5, 1249, True),
        ("brats21", 5, 0, True),  # not prepared on this machine
        ("brats21", 5, 8, False),
        ("brats21", 2, 1251, False),
        ("phantom", 5, 1251, False),
    ],
)
def test_the_papers_cohort(data: str, folds: int, cases: int, expected: bool) -> None:
    assert is_papers_cohort(data, folds, cases) is expected


@pytest.mark.parametrize(
    ("epochs", "fraction", "expected"), [(1000, None, True), (30, None, False), (None, None, False), (1000, 0.5, False)]
)
def test_the_papers_schedule(
    tmp_path: Path, write_run: Write, epochs: int | None, fraction: float | None, expected: bool
) -> None:
    identity = {"trainer.epochs": epochs, "data.fraction": fraction}
    identity = {key: value for key, value in identity.items() if value is not None}
    write_run(tmp_path, "u", 0, [0.8], manifest={"identity": {"trainer.epochs": 7}})  # without figures
    write_run(tmp_path, "ds", 0, [0.8], manifest={"identity": identity})
    assert is_papers_schedule(SPEC, load_runs(tmp_path, ["ds", "u"])) is expected


def test_a_table_without_the_papers_figures_records_it() -> None:
    hidden = SPEC.without_paper_figures()
    assert [c.paper for c in hidden.columns] == [None, None]
    assert hidden.hides_paper
    assert not hidden.without_paper_figures().hides_paper
