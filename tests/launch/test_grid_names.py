from __future__ import annotations

import subprocess
from collections.abc import Callable

import pytest
from scaffolding import listed_experiments

from brats_ablate.launch.grid_names import grid_name, naming_keys
from brats_ablate.runtime.text import is_plain_name

Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.mark.parametrize(
    ("grid", "keys"),
    [
        ([{"fold": 0, "experiment": "ds"}, {"fold": 1, "experiment": "baseline"}], []),  # named already
        ([{"supervision": "deep", "fold": 0}, {"supervision": "deep", "fold": 1}], []),  # one experiment without a name
        ([{"supervision": "none"}, {"supervision": "deep"}], ["supervision"]),
        ([{"loss": "focal_dice", "inputs": "plain"}, {"loss": "focal_dice", "inputs": "onehot"}], ["inputs"]),
        (
            [{"data": "phantom", "loss": "a", "inputs": "b"}, {"data": "x", "loss": "b", "inputs": "a"}],
            ["inputs", "loss"],
        ),
        ([{"trainer.batch_size": 1}, {"trainer.batch_size": 2}], ["trainer.batch_size"]),
        ([{"trainer.device": "cpu"}, {"trainer.device": "cuda"}], []),
        ([{"data.fraction": 0.1, "data.raw": "/a"}, {"data.fraction": 0.5, "data.raw": "/b"}], ["data.fraction"]),
        ([{"model/block@model.encoder_block": "residual"}, {}], ["model/block@model.encoder_block"]),
    ],
)
def test_runs_are_named_by_what_they_differ_in(grid: list[dict[str, object]], keys: list[str]) -> None:
    assert naming_keys(grid) == keys


def test_a_part_of_a_search_is_named_by_all_that_can_vary() -> None:
    trial = {"loss": "focal_dice", "encoder.width": 0.5, "lr": 1e-3, "trainer.epochs": 5, "data": "phantom"}
    assert naming_keys([trial], fixed={"trainer.epochs", "data"}) == ["encoder.width", "loss"]
    assert naming_keys([trial], fixed=trial) == []


@pytest.mark.parametrize("value", ["deep", 0.5, [1, 2], {"a": 1}, None, "a/b", "../up", "x y", "=", True])
def test_a_name_is_the_name_of_a_folder(value: object) -> None:
    assert is_plain_name(grid_name("custom", [("model.block", value)]))


@pytest.mark.slow
def test_a_grid_names_its_runs(brats_ablate: Command) -> None:
    """A larger grid contains the runs of a smaller one under the same names, in whatever order it is written."""
    status = ("job=status", "-m")
    small = listed_experiments(brats_ablate("supervision=none,deep", "inputs=plain,onehot", *status))
    assert small == ["default", "inputs-onehot", "supervision-deep", "inputs-onehot_supervision-deep"]
    large = listed_experiments(
        brats_ablate("loss=bce_dice,focal_dice", "inputs=onehot,plain", "supervision=none,deep", *status)
    )
    assert len(set(large)) == 8
    assert set(small) < set(large)
    of_experiment = listed_experiments(brats_ablate("+experiment=ds", "inputs=plain,onehot", *status))
    assert of_experiment == ["ds", "ds_inputs-onehot"]
    of_fractions = listed_experiments(brats_ablate("+experiment=ds", "data.fraction=.1,0.25,1", *status))
    assert of_fractions == ["ds_data.fraction-0.1", "ds_data.fraction-0.25", "ds"]
    with_own_name = listed_experiments(brats_ablate("name=study", "inputs=plain,onehot", *status))
    assert with_own_name == ["study", "study_inputs-onehot"]


@pytest.mark.slow(minutes=2)
def test_a_grid_is_trained_and_compared(brats_ablate: Command) -> None:
    grid = ("supervision=none,deep", "inputs=plain,onehot", "-m")
    trained = brats_ablate(*grid)
    assert trained.returncode == 0, trained.stdout
    table = trained.stdout.partition("Variants of default")[2]
    assert all(name in table for name in ("default", "inputs-onehot", "supervision-deep"))
    again = brats_ablate(*grid, "hydra/launcher=submitit_local")
    assert "4 already finished" in again.stdout, again.stdout
    same = brats_ablate(*grid, "job=tables")
    assert "other settings" not in same.stdout
    other = brats_ablate(*grid, "augment=none", "job=tables")
    assert "trained with other settings than this command has: default fold=0" in other.stdout
    tables = brats_ablate("job=tables", "job.tables=[sweep_default]")
    assert tables.returncode == 0, tables.stdout
    assert all(name in tables.stdout for name in ("default", "inputs-onehot", "supervision-deep"))
