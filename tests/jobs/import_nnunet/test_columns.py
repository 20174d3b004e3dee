from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from nnunet_results import NAME, REGIONS, own, write_results

from brats_ablate.data.store import CaseStore
from brats_ablate.errors import ConfigError, DataError

Job = Callable[..., None]
COLUMNS = ("job=import", "job.networks=false", "job.prediction_labels=msd", "job.workers=1")


def rotated(work: Path) -> dict[int, list[str]]:
    """Folds of the prepared cases that are all others than ours."""
    folds = CaseStore(work / "phantom/prepared").folds
    return {k: list(folds[(k + 1) % len(folds)]) for k in range(len(folds))}


def rows(work: Path, name: str) -> list[dict[str, str]]:
    with (work / "phantom/evaluation" / f"{name}.csv").open() as stream:
        return list(csv.DictReader(stream))


def test_references_as_predictions_are_perfect_and_keep_their_folds(
    job: Job, work: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folds = rotated(work)
    source = write_results(tmp_path / "nnunet", work / "phantom/prepared", folds)
    job(*COLUMNS, f"job.source={source}")
    found = rows(work, NAME)
    assert {r["case"]: int(r["fold"]) for r in found} == {c: k for k, ids in folds.items() for c in ids}
    assert {float(r["value"]) for r in found if r["metric"] == "dice"} == {1}
    record = json.loads((work / f"phantom/evaluation/{NAME}.json").read_text())
    assert record["folds"] == "nnU-Net's"
    assert record["predicted_by"]["probabilities"]["trainer"] == "nnUNetTrainer"
    assert "6 cases are in other folds than in the prepared data" in capsys.readouterr().out


def test_tables_use_the_folds_of_the_column(job: Job, work: Path, tmp_path: Path) -> None:
    """One wrong fold lowers the score of that fold of nnU-Net's, which is none of ours."""
    prepared, folds = work / "phantom/prepared", rotated(work)
    source = write_results(tmp_path / "nnunet", prepared, folds)
    for case_id in folds[1]:  # of one fold, the prediction of another case
        shutil.copy(source / f"fold_0/validation/{folds[0][0]}.nii.gz", source / f"fold_1/validation/{case_id}.nii.gz")
    job(*COLUMNS, "job.name=theirs", f"job.source={source}", "job.accept_labels=true")
    job("job=tables", "job.tables=[evaluated]")
    with (work / "phantom/tables/evaluated.csv").open() as stream:
        table = {row[0]: row[1] for row in csv.reader(stream)}
    assert table["Fold 0"] == table["Fold 2"] == "1.0"
    assert 0 < float(table["Fold 1"]) < 1


def test_regions_are_read_as_well(job: Job, work: Path, tmp_path: Path) -> None:
    source = write_results(tmp_path / "nnunet", work / "phantom/prepared", own(work), REGIONS)
    job(*COLUMNS, f"job.source={source}", "job.name=regions")
    assert {float(r["value"]) for r in rows(work, "regions") if r["metric"] == "dice"} == {1}


def test_single_folds_are_enough(job: Job, work: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folds = own(work)
    source = write_results(tmp_path / "nnunet", work / "phantom/prepared", {1: folds[1]})
    job(*COLUMNS, f"job.source={source}")
    assert {r["case"] for r in rows(work, NAME)} == set(folds[1])
    out = capsys.readouterr().out
    assert "other folds" not in out
    assert "missing in this column" not in out


def test_missing_and_double_cases_are_named(job: Job, work: Path, tmp_path: Path) -> None:
    folds = own(work)
    source = write_results(tmp_path / "nnunet", work / "phantom/prepared", folds)
    (source / f"fold_0/validation/{folds[0][0]}.nii.gz").unlink()
    with pytest.raises(DataError, match=rf"1 cases are not scored \({folds[0][0]}.*its file is gone"):
        job(*COLUMNS, f"job.source={source}")
    assert {r["case"] for r in rows(work, NAME)} == {c for ids in folds.values() for c in ids} - {folds[0][0]}
    shutil.copy(source / f"fold_1/validation/{folds[1][0]}.nii.gz", source / f"fold_2/validation/{folds[1][0]}.nii.gz")
    with pytest.raises(DataError, match=rf"{folds[1][0]} is held out in fold_1 and fold_2"):
        job(*COLUMNS, f"job.source={source}")


def test_a_fold_beyond_those_of_the_data_is_refused(job: Job, work: Path, tmp_path: Path) -> None:
    source = write_results(tmp_path / "nnunet", work / "phantom/prepared", {3: own(work)[0]})
    with pytest.raises(ConfigError, match=r"fold_3 is beyond the 3 folds .* data\.n_folds=4"):
        job(*COLUMNS, f"job.source={source}")


def test_labels_that_mean_something_else_are_refused(job: Job, work: Path, tmp_path: Path) -> None:
    prepared = work / "phantom/prepared"
    source = write_results(tmp_path / "msd", prepared, own(work))
    with pytest.raises(DataError, match=r"of which 3 is not in labels=brats2021; set job\.prediction_labels=.*msd"):
        job("job=import", "job.networks=false", f"job.source={source}")
    with pytest.raises(DataError, match=r"declares 1 edema, 2 necrosis, which contradicts labels=brats2023"):
        job("job=import", "job.networks=false", f"job.source={source}", "job.prediction_labels=brats2023")
    two = write_results(tmp_path / "two", prepared, own(work), {"background": 0, "edema": 1, "necrosis": 2})
    with pytest.raises(DataError, match=r"no label of ET, which is in labels=msd"):
        job(*COLUMNS, f"job.source={two}")
    order = write_results(tmp_path / "order", prepared, own(work), REGIONS, regions_class_order=[1, 3, 2])
    with pytest.raises(DataError, match=r"the value 3 for TC, unlike labels=msd"):
        job(*COLUMNS, f"job.source={order}")


def test_other_folders_are_refused(job: Job, work: Path, tmp_path: Path) -> None:
    source = write_results(tmp_path / "nnunet", work / "phantom/prepared", own(work))
    with pytest.raises(ConfigError, match=rf"give one of those in it: {NAME}"):
        job(*COLUMNS, f"job.source={source.parent}")
    with pytest.raises(ConfigError, match=r"job\.source is missing"):
        job(*COLUMNS)
    with pytest.raises(ConfigError, match="check the path"):
        job(*COLUMNS, f"job.source={tmp_path / 'nothing'}")
    with pytest.raises(ConfigError, match=r"job\.weights=last must be final or best"):
        job(*COLUMNS, f"job.source={source}", "job.weights=last")
    other = write_results(tmp_path / "other", work / "phantom/prepared", own(work), file_ending=".mha")
    with pytest.raises(DataError, match=r"dataset\.json: file_ending is \.mha; only \.nii\.gz and \.nii are read"):
        job(*COLUMNS, f"job.source={other}")
    gaps = write_results(tmp_path / "gaps", work / "phantom/prepared", {}, {"background": 0, "edema": 1, "ET": 4})
    (gaps / "fold_all").mkdir()
    with pytest.raises(ConfigError, match=r"contains no fold_0, fold_1, …; fold_all has no held-out cases"):
        job(*COLUMNS, f"job.source={gaps}")
    (gaps / "fold_0").mkdir()
    with pytest.raises(DataError, match=r"dataset\.json: the labels \[0, 1, 4\] are not consecutive"):
        job(*COLUMNS, f"job.source={gaps}")
