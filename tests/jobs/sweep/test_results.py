"""The table at the end of a sweep; tests/e2e and tests/launch show its content."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from omegaconf import DictConfig, OmegaConf
from scaffolding import FakeStudy

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


@pytest.mark.slow
def test_the_next_command_has_no_option_that_was_swept(tmp_path: Path) -> None:
    done = FakeStudy(tmp_path).run("+experiment=ds", "data.fraction=0.5,1", "data.n_folds=2", "trainer.epochs=1")
    assert done.returncode == 0, done.stdout
    assert "next: python -m brats_ablate data=phantom data.n_folds=2 job=report" in done.stdout.splitlines()


@pytest.mark.slow
def test_each_data_set_of_a_sweep_has_its_table_and_its_next_command(tmp_path: Path) -> None:
    done = FakeStudy(tmp_path).run("+experiment=baseline,ds", "data.name=a,b", "fold=0", "trainer.epochs=1")
    assert done.returncode == 0, done.stdout
    lines = done.stdout.splitlines()
    told = [line for line in lines if line.startswith(("Results of ", "Variants of baseline"))]
    assert [line.split(" (")[0].strip() for line in told] == [
        "Results of a",
        "Variants of baseline",
        "Results of b",
        "Variants of baseline",
    ]
    for name in "ab":
        assert any(line.startswith(f"ds fold=0 lr=0.0007 seed=0 ({name})  ") for line in lines)
    assert [line for line in lines if line.startswith("next: ")] == [
        f"next: python -m brats_ablate data=phantom data.name={name} job=report" for name in "ab"
    ]
    recorded = sorted(str(file.relative_to(tmp_path)) for file in tmp_path.glob("work/*/tables/sweeps/*"))
    assert recorded == [f"work/{name}/tables/sweeps/sweep_baseline.yaml" for name in "ab"]
