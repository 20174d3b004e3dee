import json
import math
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from brats_ablate.errors import ConfigError, RunFailed
from brats_ablate.runs.directory import Coordinates, RunDirectory, RunRecord, best_epoch, find_runs, trains_a_run
from brats_ablate.runs.state import RunState


def test_path_and_coordinates_are_inverse(tmp_path: Path) -> None:
    where = Coordinates("ds_deeper", 3, 7e-4, -1)
    directory = RunDirectory.at(tmp_path, where)
    assert directory.path == tmp_path / "ds_deeper" / "fold=3" / "lr=0.0007" / "seed=-1"
    assert directory.coordinates == where


def test_a_run_that_never_started_has_no_content(tmp_path: Path) -> None:
    directory = RunDirectory.at(tmp_path, Coordinates("ds", 0, 7e-4, 0))
    assert directory.status() is None
    assert (directory.metrics(), directory.cases(), directory.manifest(), directory.config()) == ([], [], {}, {})
    assert directory.best_checkpoints() == []
    assert not directory.is_locked()
    assert find_runs(tmp_path) == []


@pytest.mark.parametrize(
    "copy", ["seed=0_old", "../lr=0.0007_old/seed=0", "../lr=7-4/seed=0", "../../fold=0 (1)/lr=1/seed=0"]
)
def test_a_renamed_or_copied_folder_is_no_run(copy: str, tmp_path: Path) -> None:
    runs = [
        RunDirectory.at(tmp_path, Coordinates(name, 0, lr, 0)) for name in ("a", "b") for lr in (1e-7, 7e-4, 1, 2e6)
    ]
    for run in runs:
        run.path.mkdir(parents=True)
        (run.path.parent / copy).mkdir(parents=True, exist_ok=True)
    assert [run.coordinates for run in find_runs(tmp_path)] == [
        Coordinates(name, 0, lr, 0) for name in ("a", "b") for lr in (7e-4, 1, 1e-7, 2e6)
    ]
    assert {run.coordinates.name for run in find_runs(tmp_path, ["b", "c"])} == {"b"}
    with pytest.raises(ConfigError, match=r"is not named as a run directory, .*; rename it back"):
        _ = RunDirectory(runs[0].path.parent.resolve() / "seed=0_old").coordinates


def test_a_directory_that_vanished_is_not_created_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = RunDirectory.at(tmp_path, Coordinates("ds", 0, 7e-4, 0))
    with directory.lock():
        directory.write_status(RunRecord(RunState.RUNNING, 3, 4))
        directory.path.rename(tmp_path / "elsewhere")
        writes = (
            lambda: directory.write_status(RunRecord(RunState.RUNNING, 4, 4)),
            lambda: directory.write_manifest({}),
            lambda: directory.append("metrics.jsonl", [{"epoch": 4}]),
        )
        for write in writes:
            with pytest.raises(RunFailed, match=r"seed=0 vanished while the run was trained .* bring it back"):
                write()
        # It can vanish after the check and before the write, too.
        monkeypatch.setattr(directory, "ensure_exists", lambda: None)
        for write in writes:
            with pytest.raises(FileNotFoundError):
                write()
        assert not directory.path.exists()
        monkeypatch.undo()
        (tmp_path / "elsewhere").rename(directory.path)
        directory.write_status(RunRecord(RunState.RUNNING, 4, 4))
    assert directory.status() is not None


def test_a_directory_that_was_created_again_belongs_to_the_process_that_locked_it(tmp_path: Path) -> None:
    where = Coordinates("ds", 0, 7e-4, 0)
    directory, other = RunDirectory.at(tmp_path, where), RunDirectory.at(tmp_path, where)
    with directory.lock():
        shutil.rmtree(directory.path)
        with other.lock(patience_s=0):
            other.write_status(RunRecord(RunState.RUNNING, 1, 4))
            for write in (
                lambda: directory.write_status(RunRecord(RunState.FINISHED, 4, 4)),
                lambda: directory.append("metrics.jsonl", [{"epoch": 4}]),
            ):
                with pytest.raises(RunFailed, match="was deleted and created again while the run was trained; this"):
                    write()
    status = other.status()
    assert (status.state, other.metrics()) == (RunState.RUNNING, [])


def test_the_later_line_of_an_epoch_counts(tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path)
    directory.append("metrics.jsonl", [{"epoch": 2, "loss": 5.0}, {"epoch": 1, "loss": 6.0}])
    directory.append("metrics.jsonl", [{"epoch": 2, "loss": 4.0}])
    assert directory.metrics() == [{"epoch": 1, "loss": 6.0}, {"epoch": 2, "loss": 4.0}]
    directory.append("cases.jsonl", [{"epoch": 1, "case": c, "WT": w} for c, w in (("b", 0.1), ("a", 0.2), ("b", 0.3))])
    assert directory.cases() == [{"epoch": 1, "case": "a", "WT": 0.2}, {"epoch": 1, "case": "b", "WT": 0.3}]


def strict(text: str) -> dict[str, Any]:
    """Parse JSON as other programs do, which know no Infinity and no NaN."""
    content: dict[str, Any] = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} in {text}"))
    return content


def test_a_measured_value_that_is_not_finite_is_null(tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path)
    directory.append("metrics.jsonl", [{"epoch": 1, "grad_norm": math.inf, "dice": math.nan, "lr": 0.5}])
    directory.append("cases.jsonl", [{"epoch": 1, "case": "a", "WT": math.nan}])
    directory.write_status(RunRecord(RunState.RUNNING, 1, 4, best=math.nan))
    row = {"epoch": 1, "grad_norm": None, "dice": None, "lr": 0.5}
    assert strict((tmp_path / "metrics.jsonl").read_text()) == row == directory.metrics()[0]
    assert strict((tmp_path / "cases.jsonl").read_text()) == {"epoch": 1, "case": "a", "WT": None}
    assert strict((tmp_path / "status.json").read_text())["best"] is None


def test_a_setting_that_is_not_finite_is_not_recorded_as_another(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        RunDirectory(tmp_path).write_manifest({"identity": {"loss.gamma": math.inf}})
    assert RunDirectory(tmp_path).manifest() == {}


def test_a_partial_line_is_not_read_and_truncated_before_the_next(tmp_path: Path) -> None:
    file = tmp_path / "metrics.jsonl"
    file.write_text('{"epoch": 1}\n{"epo')
    assert RunDirectory(tmp_path).metrics() == [{"epoch": 1}]
    RunDirectory(tmp_path).append("metrics.jsonl", [{"epoch": 2}])
    assert file.read_text() == '{"epoch": 1}\n{"epoch": 2}\n'


def test_rows_are_on_the_disk_before_a_checkpoint_can_follow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(Path(f"/dev/fd/{descriptor}").read_text()))
    RunDirectory(tmp_path).append("metrics.jsonl", [{"epoch": 1}])
    assert synced == ['{"epoch": 1}\n']


def test_best_checkpoints_are_ranked_by_dice_then_epoch(tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path)
    files = [directory.best_checkpoint(e, d) for e, d in ((7, 0.81), (12, 0.9), (9, 0.9))]
    for file in files:
        file.parent.mkdir(exist_ok=True)
        file.touch()
    assert directory.best_checkpoints() == [files[2], files[1], files[0]]


def test_status_is_replaced_and_its_state_is_plain_text(tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path)
    directory.write_status(RunRecord(RunState.RUNNING, 1, 5, 0.5))
    directory.write_status(RunRecord(RunState.FAILED, 2, 5, 0.6, "the loss is nan"))
    status = directory.status()
    assert (status.state, status.epoch, status.best, status.reason) == (RunState.FAILED, 2, 0.6, "the loss is nan")
    content = json.loads((tmp_path / "status.json").read_text())
    assert (content["state"], content["updated"]) == ("failed", status.updated)
    assert [p.name for p in tmp_path.iterdir()] == ["status.json"]


def test_a_job_trains_a_run_if_it_is_the_function_run_of_a_module_train() -> None:
    assert trains_a_run("brats_ablate.jobs.train.run")
    assert trains_a_run("own.train.run")
    assert not trains_a_run("brats_ablate.jobs.predict.run")


def test_the_best_score_is_of_the_validated_epoch_with_the_highest_mean(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    assert best_epoch(run.metrics()) == {}
    rows = [(0, 0.9, 0.9), (1, 0.5, 0.1), (2, math.nan, 0.8), (3, 0.6, 0.2), (4, 0.6, 0.3)]
    run.append("metrics.jsonl", [{"epoch": e, "dice": dice, "dice/ET": et} for e, dice, et in rows] + [{"epoch": 5}])
    best = best_epoch(run.metrics())
    assert (best["dice"], best["dice/ET"], best.get("dice/NETC")) == (0.6, 0.2, None)
