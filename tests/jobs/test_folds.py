"""Folds that change after networks were trained in them: no network may predict, as held out, what it was trained on."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from omegaconf import DictConfig

from brats_ablate.data.store import CaseStore
from brats_ablate.errors import ConfigError, DataError, RunFailed
from brats_ablate.jobs import train
from brats_ablate.jobs.sweep.data_check import check_sweep_data, has_its_fold
from brats_ablate.runs.directory import RunDirectory

Job = Callable[..., None]
FinishedRun = Callable[..., RunDirectory]
Composed = Callable[..., DictConfig]
PREDICT = ("job=predict", "+experiment=baseline", "inference=sliding_window_without_tta")


@pytest.fixture
def prepared(work: Path) -> Path:
    """A prepared set of this test alone."""
    folder = work / "phantom" / "prepared"
    source = folder.resolve()
    folder.unlink()
    shutil.copytree(source, folder)
    return folder


def swap(prepared: Path) -> list[list[str]]:
    """Exchange the first cases of folds 0 and 1 in folds.json."""
    file = prepared / "folds.json"
    frozen = json.loads(file.read_text())
    first, second, _ = validation = frozen["validation"]
    first[0], second[0] = second[0], first[0]
    file.write_text(json.dumps(frozen))
    return validation


def test_edited_folds_are_refused_until_the_data_are_prepared_again(job: Job, prepared: Path) -> None:
    before = CaseStore(prepared).folds_fingerprint
    validation = swap(prepared)
    with pytest.raises(DataError, match=r"folds\.json was changed after job=prepare; restore it, or run job=prepare"):
        CaseStore(prepared)
    with pytest.raises(DataError, match=r"1 file is damaged"):
        job("job=verify")
    job("job=prepare")
    store = CaseStore(prepared)
    assert store.folds == validation
    assert store.folds_fingerprint != before
    job("job=verify")


def test_a_store_of_an_earlier_version_has_no_checksum_of_its_folds(prepared: Path) -> None:
    file = prepared / "cohort.json"
    head = json.loads(file.read_text())
    del head["folds_sha256"]
    file.write_text(json.dumps(head))
    swap(prepared)
    CaseStore(prepared)


@pytest.mark.slow
def test_networks_of_other_folds_predict_no_case_as_held_out(
    job: Job, finished_run: FinishedRun, composed: Composed, prepared: Path, work: Path
) -> None:
    runs = [finished_run("+experiment=baseline", f"fold={fold}", dice=(0.5,)) for fold in range(3)]
    job(*PREDICT, "name=earlier", "job.runs=[baseline]", "job.probabilities=true")
    job("job=evaluate", "job.name=earlier")
    swap(prepared)
    job("job=prepare")
    assert [has_its_fold(run, CaseStore(prepared)) for run in runs] == [False, False, True]
    with pytest.raises(
        DataError, match=r"fold=0/\S+ was trained with other folds than those of \S+prepared, so it was"
    ):
        job(*PREDICT, "name=later", "job.runs=[baseline]")
    with pytest.raises(
        DataError, match=r"earlier was predicted out of other folds than those of \S+folds\.json; predict"
    ):
        job("job=evaluate", "job.name=earlier")
    with pytest.raises(DataError, match=r"earlier was predicted out of other folds than those of \S+prepared; predict"):
        job("job=tune", "job.predictions=earlier")
    job("job=tables", "job.tables=[evaluated]")
    table = (work / "phantom" / "tables" / "evaluated.md").read_text()
    assert "2 cases (" in table
    assert "were in other folds when they were predicted; predict them again" in table

    (runs[1].path / "status.json").unlink()  # as if it had not finished
    with pytest.raises(ConfigError, match=r"fold=1/\S+ was started with other cases in its fold than \S+ now has"):
        check_sweep_data([composed("+experiment=baseline", "fold=1")])
    with pytest.raises(RunFailed, match=r"was started with other cases in its fold"):
        train.run(composed("+experiment=baseline", "fold=1"))


def test_runs_of_an_earlier_version_are_compared_by_what_their_folds_were_drawn_by(
    finished_run: FinishedRun, prepared: Path
) -> None:
    run = finished_run("+experiment=baseline", dice=(0.5,))
    manifest = run.manifest()
    del manifest["held_out"]
    run.write_manifest(manifest)
    assert has_its_fold(run, CaseStore(prepared))
    manifest["identity"]["data.fold_seed"] = 3
    run.write_manifest(manifest)
    assert not has_its_fold(run, CaseStore(prepared))


def test_a_damaged_description_of_a_case_is_found(job: Job, prepared: Path) -> None:
    (file, *_) = sorted(prepared.glob("cases/*/case.json"))
    described = json.loads(file.read_text())
    described["record"]["mean"][0] += 600
    file.write_text(json.dumps(described))
    with pytest.raises(DataError, match=r"1 file is damaged"):
        job("job=verify")
