from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from brats_ablate.tables.scores import ColumnScores, load_runs, score, summarize_run

Write = Callable[..., Any]


def _score(runs: Path, name: str = "a", folds: int = 2) -> ColumnScores:
    return score(load_runs(runs, [name])[name], folds)


def test_a_folds_score_is_its_highest_epoch(tmp_path: Path, write_run: Write) -> None:
    run = summarize_run(write_run(tmp_path, "a", 0, [0.5, 0.9, 0.7]))
    assert (run.best["epoch"], run.best["dice"], run.last["dice"]) == (2, 0.9, 0.7)


def test_a_copy_of_a_run_does_not_count(tmp_path: Path, write_run: Write) -> None:
    run = write_run(tmp_path, "a", 0, [0.5])
    shutil.copytree(run.path, run.path.with_name("seed=0_old"))
    assert [each.directory.path for each in load_runs(tmp_path, ["a"])["a"]] == [run.path]


def test_of_equal_epochs_the_first_counts(tmp_path: Path, write_run: Write) -> None:
    run = summarize_run(write_run(tmp_path, "a", 0, [0.5, 0.9, 0.9]))
    assert run.best["epoch"] == 2


def test_the_untrained_network_does_not_count(tmp_path: Path, write_run: Write) -> None:
    directory = write_run(tmp_path, "a", 0, [0.1, 0.2])
    directory.append("metrics.jsonl", [{"epoch": 0, "dice": 0.99}])
    run = summarize_run(directory)
    assert run.best["epoch"] == 2


def test_best_learning_rate_per_fold_and_shared_over_all_folds(tmp_path: Path, write_run: Write) -> None:
    for fold, (low, high) in enumerate([(0.80, 0.90), (0.94, 0.86)]):
        write_run(tmp_path, "a", fold, [low], lr=5e-4)
        write_run(tmp_path, "a", fold, [high], lr=7e-4)
    scores = _score(tmp_path)
    assert [(c.value, c.lr) for c in scores.per_fold_lr.folds] == [(0.90, 7e-4), (0.94, 5e-4)]
    assert scores.per_fold_lr.mean == pytest.approx(0.92)
    assert scores.shared_lr.mean == pytest.approx(0.88)  # .90 and .86, against .80 and .94 that mean .87
    assert scores.lr_optimism == pytest.approx(0.04)


def test_a_missing_fold_is_never_averaged_over(tmp_path: Path, write_run: Write) -> None:
    write_run(tmp_path, "a", 0, [0.9])
    scores = _score(tmp_path)
    assert scores.per_fold_lr.mean is None
    assert scores.per_fold_lr.sd is None
    assert scores.shared_lr is None
    assert scores.per_fold_lr.folds[1].state == "missing"


def test_a_learning_rate_with_a_missing_fold_is_not_shared(tmp_path: Path, write_run: Write) -> None:
    for fold in range(2):
        write_run(tmp_path, "a", fold, [0.8], lr=5e-4)
    write_run(tmp_path, "a", 0, [0.95], lr=7e-4)
    scores = _score(tmp_path)
    assert scores.shared_lr.folds[0].lr == 5e-4


def test_an_unfinished_run_is_marked_and_does_not_count(tmp_path: Path, write_run: Write) -> None:
    write_run(tmp_path, "a", 0, [0.8], lr=5e-4)
    write_run(tmp_path, "a", 0, [0.9], lr=7e-4, state="running", epochs=10)
    write_run(tmp_path, "a", 1, [0.9], state="failed", epochs=10)
    scores = _score(tmp_path)
    assert (scores.per_fold_lr.folds[0].value, scores.per_fold_lr.folds[0].lr) == (0.8, 5e-4)
    assert scores.per_fold_lr.folds[1].state == "unfinished"
    assert scores.per_fold_lr.folds[1].note == "failed, epoch 1 of 10"


def test_seeds_are_averaged(tmp_path: Path, write_run: Write) -> None:
    write_run(tmp_path, "a", 0, [0.8], seed=0)
    write_run(tmp_path, "a", 0, [0.9], seed=1)
    assert _score(tmp_path, folds=1).per_fold_lr.mean == pytest.approx(0.85)


def test_epoch_optimism_is_best_minus_last(tmp_path: Path, write_run: Write) -> None:
    write_run(tmp_path, "a", 0, [0.9, 0.8])
    write_run(tmp_path, "a", 1, [0.7, 0.8])
    assert _score(tmp_path).epoch_optimism == pytest.approx(0.05)


def test_epoch_optimism_counts_every_fold_alike(tmp_path: Path, write_run: Write) -> None:
    """As the mean does: seeds of a fold are averaged first."""
    write_run(tmp_path, "a", 0, [0.9, 0.8], seed=0)
    write_run(tmp_path, "a", 0, [0.8, 0.7], seed=1)
    write_run(tmp_path, "a", 1, [0.7, 0.8])
    assert _score(tmp_path).epoch_optimism == pytest.approx(0.05)
