"""Dice against training cases: which columns are a curve, and the numbers of its points."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from table_results import result_of

from brats_ablate.tables.build import TableResult
from brats_ablate.tables.scores import experiment_names
from brats_ablate.tables.spec import Column, TableSpec
from brats_ablate.tables.training_size import size_curves, size_table

Write = Callable[..., object]
CASES = {"x": (0.1, 0.2, 0.3), "y": (0.4, 0.5, 0.6)}


def write(
    write_run: Write, runs: Path, name: str, dice: Mapping[int, float], cases: int | None, **identity: object
) -> None:
    recorded = {} if cases is None else {"training_cases": cases}
    for fold, value in dice.items():
        full = {"fold": fold, "name": name, "model._target_": "unet", "trainer.crops_per_case": 1, **identity}
        write_run(runs, name, fold, [value], cases=CASES, manifest={"identity": full, **recorded})


def table(runs: Path) -> TableResult:
    names = experiment_names(runs)
    spec = TableSpec("trained", "Trained", None, None, tuple(Column(n, n, None, None) for n in names), ())
    return result_of(runs, spec, folds=3, resamples=10)


def test_columns_that_differ_in_the_fraction_alone_are_a_curve(tmp_path: Path, write_run: Write) -> None:
    write(write_run, tmp_path, "ds", {0: 0.8, 1: 0.9, 2: 0.1}, 80)
    write(write_run, tmp_path, "ds_half", {0: 0.6, 1: 0.8}, 40, **{"data.fraction": 0.5})
    write(write_run, tmp_path, "other", {0: 0.5}, 40, **{"data.fraction": 0.5, "model._target_": "unetr"})
    result = table(tmp_path)
    (curve,) = size_curves(result.columns)
    assert (curve.title, curve.source, curve.folds) == ("ds", "ds", 2)  # fold 2 has no half
    assert [(p.fraction, p.cases) for p in curve.points] == [(0.5, 40), (1, 80)]
    assert [p.mean for p in curve.points] == pytest.approx([(0.6 + 0.8) / 2, (0.8 + 0.9) / 2])
    # Student's t with one degree of freedom at 97.5 % is tan(0.475π); the standard error is half the difference.
    half_width = 12.706204736 * 0.1
    assert curve.points[0].interval.low == pytest.approx(0.7 - half_width)
    assert curve.points[0].interval.high == pytest.approx(0.7 + half_width)
    assert size_table(result).texts[1][:5] == ("ds", "1", "80", "2", "0.8500")


def test_as_many_samples_per_epoch_are_a_curve_of_their_own(tmp_path: Path, write_run: Write) -> None:
    write(write_run, tmp_path, "ds", {0: 0.8}, 80)
    write(write_run, tmp_path, "ds_half", {0: 0.6}, 40, **{"data.fraction": 0.5})
    write(write_run, tmp_path, "ds_half_twice", {0: 0.7}, 40, **{"data.fraction": 0.5, "trainer.crops_per_case": 2})
    curves = {curve.title: [p.mean for p in curve.points] for curve in size_curves(table(tmp_path).columns)}
    assert curves == {"ds": [0.6, 0.8], "ds, as many samples per epoch": [0.7, 0.8]}


def test_columns_that_differ_in_their_name_alone_are_one_point(tmp_path: Path, write_run: Write) -> None:
    write(write_run, tmp_path, "ds", {0: 0.8, 1: 0.9}, 80)
    write(write_run, tmp_path, "ds_again", {0: 0.7}, 80)
    write(write_run, tmp_path, "ds_half", {0: 0.6, 1: 0.8}, 40, **{"data.fraction": 0.5})
    (curve,) = size_curves(table(tmp_path).columns)
    assert (curve.title, curve.source) == ("ds and ds_again", "ds")
    assert [(p.fraction, p.cases) for p in curve.points] == [(0.5, 40), (1, 80)]
    assert curve.points[1].mean == pytest.approx((0.75 + 0.9) / 2)
    assert curve.points[1].interval.high == pytest.approx(0.825 + 12.706204736 * 0.075)


def test_one_fraction_or_no_shared_fold_is_no_curve(tmp_path: Path, write_run: Write) -> None:
    write(write_run, tmp_path, "ds", {0: 0.8}, 80)
    assert size_curves(table(tmp_path).columns) == []
    write(write_run, tmp_path, "ds_half", {1: 0.6}, 40, **{"data.fraction": 0.5})
    assert size_curves(table(tmp_path).columns) == []
    assert not size_table(table(tmp_path)).rows


def test_the_cases_of_an_earlier_versions_run_are_the_samples_of_its_epochs(tmp_path: Path, write_run: Write) -> None:
    of_run = {"trainer.batch_size": 2, "trainer.crops_per_case": 4}
    write(write_run, tmp_path, "ds", {0: 0.8}, None, **of_run)  # 10 steps per epoch
    write(write_run, tmp_path, "ds_half", {0: 0.6}, 3, **of_run, **{"data.fraction": 0.5})
    for run in (tmp_path / "ds").glob("*/*/*/manifest.json"):
        run.write_text(run.read_text().replace('"identity"', '"world_size": 1, "identity"', 1))
    (curve,) = size_curves(table(tmp_path).columns)
    assert [p.cases for p in curve.points] == [3, 10 * 2 / 4]
