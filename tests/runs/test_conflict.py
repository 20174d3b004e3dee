from pathlib import Path

import pytest

from brats_ablate.runs.conflict import conflict
from brats_ablate.runs.directory import Coordinates, RunDirectory

SETTINGS = {"trainer.epochs": 8, "loss.gamma": 2, "init.checksum": "a"}


def identity_of(run: RunDirectory, **settings: object) -> dict[str, object]:
    return {**vars(run.coordinates), **SETTINGS, **settings}


def conflict_of(run: RunDirectory, **settings: object) -> str | None:
    return conflict(run, lambda: identity_of(run, **settings))


@pytest.fixture
def trained(tmp_path: Path) -> RunDirectory:
    run = RunDirectory.at(tmp_path, Coordinates("ds", 0, 7e-4, 0))
    run.path.mkdir(parents=True)
    run.write_manifest({"identity": identity_of(run)})
    return run


def test_a_started_run_is_compared_with_itself(trained: RunDirectory) -> None:
    assert conflict_of(trained) is None
    reason = conflict_of(trained, **{"loss.gamma": 3})
    assert reason == (
        f"{trained.path} was started with a different configuration (loss.gamma: 2 -> 3); give this one another name=…, "
        "or delete that directory"
    )


def test_a_renamed_run_is_named_as_such(trained: RunDirectory) -> None:
    renamed = RunDirectory.at(trained.path.parents[3], Coordinates("deep", 0, 7e-4, 0))
    renamed.path.parent.mkdir(parents=True)
    trained.path.rename(renamed.path)
    reason = f"{renamed.path} was started as another run (name: ds -> deep) and renamed since; rename it back"
    assert conflict_of(renamed) == reason


@pytest.mark.parametrize(
    "place", [Coordinates("ds", 1, 7e-4, 0), Coordinates("ds", 0, 5e-4, 0), Coordinates("ds", 0, 7e-4, 3)]
)
def test_a_new_run_is_compared_with_those_of_its_name(
    tmp_path: Path, trained: RunDirectory, place: Coordinates
) -> None:
    new = RunDirectory.at(tmp_path, place)
    assert conflict_of(new) is None
    assert conflict_of(new, **{"init.checksum": "b"}) is None  # each fold starts from weights of its own
    reason = conflict_of(new, **{"trainer.epochs": 36})
    assert reason.startswith(
        f"{trained.path} has the same name, but other settings (trainer.epochs: 8 -> 36), and tables"
    )
    other = RunDirectory.at(tmp_path, Coordinates("ds_long", place.fold, place.lr, place.seed))
    assert conflict_of(other, **{"trainer.epochs": 36}) is None


def test_a_run_that_was_mixed_in_earlier_can_be_continued(tmp_path: Path, trained: RunDirectory) -> None:
    mixed = RunDirectory.at(tmp_path, Coordinates("ds", 1, 1e-2, 0))
    mixed.path.mkdir(parents=True)
    mixed.write_manifest({"identity": identity_of(mixed, **{"trainer.epochs": 36})})
    assert conflict_of(mixed, **{"trainer.epochs": 36}) is None


def test_a_study_that_was_mixed_earlier_can_be_completed(tmp_path: Path, trained: RunDirectory) -> None:
    mixed = RunDirectory.at(tmp_path, Coordinates("ds", 1, 1e-2, 0))
    mixed.path.mkdir(parents=True)
    mixed.write_manifest({"identity": identity_of(mixed, **{"trainer.epochs": 36})})
    new = RunDirectory.at(tmp_path, Coordinates("ds", 2, 7e-4, 0))
    assert conflict_of(new) is None
    assert conflict_of(new, **{"trainer.epochs": 36}) is None  # whichever comes first on the disk
    reason = conflict_of(new, **{"trainer.epochs": 5})
    assert reason is not None
    assert reason.startswith(f"{trained.path} has the same name")


def test_a_damaged_record_of_another_run_is_passed_over(tmp_path: Path, trained: RunDirectory) -> None:
    (trained.path / "manifest.json").write_text("{")
    new = RunDirectory.at(tmp_path, Coordinates("ds", 1, 7e-4, 0))
    assert conflict_of(new, **{"trainer.epochs": 36}) is None


def test_a_run_that_was_put_aside_does_not_count(tmp_path: Path, trained: RunDirectory) -> None:
    new = RunDirectory.at(tmp_path, Coordinates("ds", 1, 7e-4, 0))
    assert conflict_of(new, **{"trainer.epochs": 36}) is not None
    trained.path.rename(trained.path.with_name("seed=0_old"))
    assert conflict_of(new, **{"trainer.epochs": 36}) is None
