"""The table at the end of a sweep; tests/e2e and tests/launch show its content."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from omegaconf import DictConfig, OmegaConf

from brats_ablate.errors import DataError
from brats_ablate.jobs import tables
from brats_ablate.jobs.sweep.results import tables_of


def test_an_error_of_the_table_does_not_end_a_trained_sweep(
    composition: Callable[..., DictConfig],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fails(*_: object) -> None:
        raise DataError("scores.csv of a neighbor is damaged; evaluate it again")

    monkeypatch.setattr(tables, "results_of", fails)
    cfg = composition("+experiment=baseline", f"paths.work={tmp_path}")
    with tables_of([cfg], OmegaConf.create({"job": {"config_name": "config"}})):
        pass
    said = capsys.readouterr()
    assert said.err == "brats-ablate: no table of this sweep: scores.csv of a neighbor is damaged; evaluate it again\n"
    assert said.out == ""
