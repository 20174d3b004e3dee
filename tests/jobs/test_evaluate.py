from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from schemes import BRATS2021, REGIONS
from scorers import DEFAULT

from brats_ablate.data.store import CaseStore, to_original_space
from brats_ablate.errors import ConfigError, DataError
from brats_ablate.labels.scheme import LabelScheme
from brats_ablate.metrics.case_metrics import METRICS
from brats_ablate.runs.directory import RunDirectory

Job = Callable[..., None]


def phantom(work: Path, folder: str) -> Path:
    return work / "phantom" / folder


def write_like_reference(work: Path, case_id: str, depth: np.ndarray, file: Path) -> None:
    """Write cropped nesting depths on the case's original grid."""
    record = CaseStore(phantom(work, "prepared")).record(case_id)
    file.parent.mkdir(parents=True, exist_ok=True)
    values = BRATS2021.decode(to_original_space(record, depth))
    nib.save(nib.Nifti1Image(values, np.asarray(record.grid.affine)), file)


def rows_of(work: Path, name: str) -> dict[tuple[str, str, str], float]:
    with (phantom(work, "evaluation") / f"{name}.csv").open() as stream:
        return {(r["case"], r["region"], r["metric"]): float(r["value"]) for r in csv.DictReader(stream)}


def test_the_reference_itself_is_perfect(job: Job, work: Path) -> None:
    store = CaseStore(phantom(work, "prepared"))
    for case_id in store.case_ids:
        file = phantom(work, "predictions") / "perfect" / f"{case_id}.nii.gz"
        write_like_reference(work, case_id, store.read_labels(case_id), file)
    job("job=evaluate", "job.name=perfect", "job.workers=1")
    rows = rows_of(work, "perfect")
    assert set(rows) == {(c, r, m) for c in store.case_ids for r in REGIONS for m in METRICS}
    for metric, value in (("dice", 1), ("hd95", 0), ("nsd", 1), ("lesion_dice", 1), ("sensitivity", 1)):
        assert {rows[c, r, metric] for c in store.case_ids for r in REGIONS} == {value}
    with (phantom(work, "evaluation") / "perfect.csv").open() as stream:
        folds = {row["case"]: int(row["fold"]) for row in csv.DictReader(stream)}
    assert folds == {c: k for k, ids in enumerate(store.folds) for c in ids}


def test_the_references_are_no_predictions(job: Job, work: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    case_id, *others = CaseStore(phantom(work, "prepared")).case_ids
    raw = phantom(work, "raw")
    folder = f"job.predictions={work / 'phantom'}"  # above the raw data
    for references in ("prepared", raw):
        with pytest.raises(DataError, match=rf"{case_id}_seg.nii.gz is the reference itself.*as {len(others)} more"):
            job("job=evaluate", "job.name=none", folder, f"job.references={references}", "job.workers=1")
    link, copy = tmp_path / "mixed" / f"{case_id}.nii.gz", tmp_path / "mixed" / f"{others[0]}.nii.gz"
    link.parent.mkdir()
    link.symlink_to(raw / case_id / f"{case_id}_seg.nii.gz")
    shutil.copyfile(raw / others[0] / f"{others[0]}_seg.nii.gz", copy)
    with pytest.raises(DataError, match=rf"1 cases are not scored \({case_id}: \S*{link.name} is the reference"):
        job("job=evaluate", "job.name=mixed", f"job.predictions={link.parent}", "job.workers=1")
    assert {key[0] for key in rows_of(work, "mixed")} == {others[0]}
    assert "every Dice is 1" in capsys.readouterr().err  # a copy cannot be told from a perfect prediction


def test_label_files_of_another_program_against_segmentations(job: Job, work: Path, tmp_path: Path) -> None:
    store = CaseStore(phantom(work, "prepared"))
    case_id = store.case_ids[1]
    depth = store.read_labels(case_id).copy()
    depth[:, :, : depth.shape[2] // 2] = 0
    write_like_reference(work, case_id, depth, tmp_path / "theirs" / "deep" / f"{case_id}_pred.nii.gz")
    job(
        "job=evaluate",
        "job.name=theirs",
        f"job.predictions={tmp_path / 'theirs'}",
        f"job.references={phantom(work, 'raw')}",
        "metrics.hd95=medpy",
        "job.workers=1",
    )
    image = nib.load(phantom(work, "raw") / case_id / f"{case_id}_seg.nii.gz")
    table = np.array([0, 2, 1, 0, 3], dtype=np.uint8)
    reference = table[np.asarray(image.dataobj).astype(int)]
    predicted = table[np.asarray(nib.load(tmp_path / "theirs" / "deep" / f"{case_id}_pred.nii.gz").dataobj)]
    scorer = replace(DEFAULT, hd95="medpy")
    expected = scorer(predicted, reference, tuple(float(s) for s in image.header.get_zooms()[:3]), BRATS2021)
    rows = rows_of(work, "theirs")
    assert {key[0] for key in rows} == {case_id}
    assert all(rows[case_id, region, metric] == value for (region, metric), value in expected.items())
    assert 0 < rows[case_id, "WT", "dice"] < 1


def test_visits_whose_ids_end_as_names_of_images_are_scored(job: Job, work: Path, tmp_path: Path) -> None:
    case_id = CaseStore(phantom(work, "prepared")).case_ids[0]
    (tmp_path / "theirs").mkdir()
    for visit in ("P01_t1", "P01_t2"):
        copy = shutil.copytree(phantom(work, "raw") / case_id, tmp_path / "raw" / visit)
        for file in copy.iterdir():
            file.rename(copy / file.name.replace(case_id, visit))
        shutil.copy(copy / f"{visit}_seg.nii.gz", tmp_path / "theirs" / f"{visit}.nii.gz")
    shutil.copy(tmp_path / "theirs" / "P01_t1.nii.gz", tmp_path / "theirs" / "P02.nii.gz")
    folders = (f"job.predictions={tmp_path / 'theirs'}", f"job.references={tmp_path / 'raw'}")
    with pytest.raises(DataError, match=r"1 cases are not scored \(P02: it has no reference"):
        job("job=evaluate", "job.name=visits", *folders, "job.workers=1")
    assert {key[0] for key in rows_of(work, "visits")} == {"P01_t1", "P01_t2"}


def test_invalid_cases_are_named_and_the_others_scored(job: Job, work: Path) -> None:
    store = CaseStore(phantom(work, "prepared"))
    good, shifted, foreign, unknown = *store.case_ids[:3], "nobody"
    folder = phantom(work, "predictions") / "mixed"
    for case_id in (good, shifted, foreign):
        write_like_reference(work, case_id, store.read_labels(case_id), folder / f"{case_id}.nii.gz")
    shutil.copy(folder / f"{good}.nii.gz", folder / f"{unknown}.nii.gz")
    image = nib.load(folder / f"{shifted}.nii.gz")
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj)[1:], image.affine), folder / f"{shifted}.nii.gz")
    image = nib.load(folder / f"{foreign}.nii.gz")
    values = np.asarray(image.dataobj).copy()
    values[0, 0, 0] = 3
    nib.save(nib.Nifti1Image(values, image.affine), folder / f"{foreign}.nii.gz")
    with pytest.raises(DataError, match="3 cases are not scored") as error:
        job("job=evaluate", "job.name=mixed", "job.workers=1")
    for part in ("not on the grid", "label value 3", "nobody: it has no reference"):
        assert part in str(error.value)
    assert {key[0] for key in rows_of(work, "mixed")} == {good}


def test_cases_without_a_prediction_are_counted(job: Job, work: Path, capsys: pytest.CaptureFixture) -> None:
    store = CaseStore(phantom(work, "prepared"))
    case_id, *others = store.case_ids
    file = phantom(work, "predictions") / "one" / f"{case_id}.nii.gz"
    write_like_reference(work, case_id, store.read_labels(case_id), file)
    job("job=evaluate", "job.name=one", "job.workers=1")
    more = f"{len(others)} more cases of prepared have a reference, but no prediction ({others[0]} …)"
    assert more in capsys.readouterr().out


def test_cases_that_the_networks_were_trained_on_are_refused(job: Job, work: Path) -> None:
    store = CaseStore(phantom(work, "prepared"))
    folder = phantom(work, "predictions") / "new"
    for case_id in store.folds[1]:
        write_like_reference(work, case_id, store.read_labels(case_id), folder / f"{case_id}.nii.gz")
    manifest = {"cases": "/data/raw", "members": ["ds fold=0 lr=0.0007 seed=0 1.pt"]}
    (folder / "predictions.json").write_text(json.dumps({"probabilities": manifest}))
    with pytest.raises(DataError, match="were training data of networks that predicted them"):
        job("job=evaluate", "job.name=new", "job.workers=1")
    assert not (phantom(work, "evaluation") / "new.csv").exists()
    manifest["members"] = ["ds fold=1 lr=0.0007 seed=0 1.pt"]
    (folder / "predictions.json").write_text(json.dumps({"probabilities": manifest}))
    job("job=evaluate", "job.name=new", "job.workers=1")


def test_folds_of_another_prepared_set_do_not_matter(job: Job, work: Path, tmp_path: Path) -> None:
    case_id = CaseStore(phantom(work, "prepared")).case_ids[0]
    labels = CaseStore(phantom(work, "prepared")).read_labels(case_id)
    manifest = {"probabilities": {}, "folds": {"fingerprint": "of another set"}}
    folders = {"job.predictions": tmp_path / "predictions", "job.references": tmp_path / "references"}
    score = ("job=evaluate", "job.name=theirs", "job.workers=1", *(f"{key}={path}" for key, path in folders.items()))
    for name, is_refused in ((f"{case_id}.nii.gz", True), ("Elsewhere_1.nii.gz", False)):
        for folder in folders.values():
            shutil.rmtree(folder, ignore_errors=True)
            write_like_reference(work, case_id, labels, folder / name)
        (folders["job.predictions"] / "predictions.json").write_text(json.dumps(manifest))
        with pytest.raises(DataError, match="out of other folds") if is_refused else nullcontext():
            job(*score)


@pytest.mark.slow
def test_predicted_training_cases_are_refused_unless_the_networks_are_of_other_data(
    job: Job, finished_run: Callable[..., RunDirectory], work: Path
) -> None:
    run = finished_run("+experiment=baseline", "fold=0", dice=(0.5,))
    predict = ("+experiment=baseline", "job=predict", f"job.source={phantom(work, 'raw')}", "inference=validation")
    job(*predict, "job.output=own")
    with pytest.raises(DataError, match=r"4 cases of .* were training data of networks that predicted them"):
        job("job=evaluate", "job.name=own", "job.workers=1")
    run.write_manifest(run.manifest() | {"data_fingerprint": "elsewhere"})
    job(*predict, "job.output=theirs")
    job("job=evaluate", "job.name=theirs", "job.workers=1")
    assert len({case for case, _, _ in rows_of(work, "theirs")}) == 6


def test_missing_input_is_reported(job: Job, work: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="not a folder of label files"):
        job("job=evaluate", "job.name=nothing")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="contains no label file"):
        job("job=evaluate", f"job.predictions={tmp_path / 'empty'}")


def write_all(work: Path, folder: Path, scheme: LabelScheme) -> list[str]:
    """Write every reference as a prediction, in the values of `scheme`."""
    store = CaseStore(phantom(work, "prepared"))
    for case_id in store.case_ids:
        write_like_reference(work, case_id, store.read_labels(case_id), folder / f"{case_id}.nii.gz")
        image = nib.load(folder / f"{case_id}.nii.gz")
        values = scheme.decode(BRATS2021.encode(np.asarray(image.dataobj)))
        nib.save(nib.Nifti1Image(values, image.affine), folder / f"{case_id}.nii.gz")
    return store.case_ids


def test_predictions_numbered_otherwise_are_scored_or_refused_with_the_right_hint(
    job: Job, work: Path, tmp_path: Path
) -> None:
    msd = LabelScheme.named_before("msd")
    case_ids = write_all(work, tmp_path / "theirs", msd)
    arguments = ("job=evaluate", "job.name=theirs", f"job.predictions={tmp_path / 'theirs'}", "job.workers=1")
    job(*arguments, "job.prediction_labels=msd")
    assert {rows_of(work, "theirs")[c, r, "dice"] for c in case_ids for r in REGIONS} == {1.0}

    written = (phantom(work, "evaluation") / "theirs.csv").read_bytes()
    # One phantom has no enhancing tumor, so its values are known to both: it shows the swap.
    with pytest.raises(
        DataError, match=r"in 1 of 1 cases .* ED and NCR lie where .*; set job\.prediction_labels=msd, or"
    ):
        job(*arguments)
    without_et = next(c for c in case_ids if not (CaseStore(phantom(work, "prepared")).read_labels(c) == 3).any())
    (tmp_path / "theirs" / f"{without_et}.nii.gz").rename(tmp_path / "kept.nii.gz")
    with pytest.raises(
        DataError, match=r"no case of .* is scored, and nothing is written .* \(as \d more\); the values of"
    ) as error:
        job(*arguments)
    assert "fit job.prediction_labels=brats2023 or msd)" in str(error.value)
    (tmp_path / "kept.nii.gz").rename(tmp_path / "theirs" / f"{without_et}.nii.gz")
    assert (phantom(work, "evaluation") / "theirs.csv").read_bytes() == written

    with pytest.raises(
        DataError, match=r"ED and NCR lie where .* swapped; set job\.prediction_labels=msd, or job\.acc"
    ):
        job(*arguments, "job.prediction_labels=brats2023")
    assert (phantom(work, "evaluation") / "theirs.csv").read_bytes() == written
    job(*arguments, "job.prediction_labels=brats2023", "job.accept_labels=true")
    assert (phantom(work, "evaluation") / "theirs.csv.previous").read_bytes() == written
    assert min(rows_of(work, "theirs").values()) < 1


def test_references_in_other_values_need_their_own_scheme(job: Job, work: Path, tmp_path: Path) -> None:
    msd = LabelScheme.named_before("msd")
    write_all(work, tmp_path / "theirs", BRATS2021)
    write_all(work, tmp_path / "references", msd)
    folders = (f"job.predictions={tmp_path / 'theirs'}", f"job.references={tmp_path / 'references'}")
    job("job=evaluate", "job.name=both", *folders, "job.reference_labels=msd", "job.workers=1")
    assert {v for (_, _, metric), v in rows_of(work, "both").items() if metric == "dice"} == {1.0}
    with pytest.raises(ConfigError, match=r"job\.reference_labels=msd is of reference files, but the references are"):
        job("job=evaluate", folders[0], "job.reference_labels=msd", "job.workers=1")


def test_a_result_of_more_cases_is_kept(
    job: Job, work: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    case_ids = write_all(work, tmp_path / "theirs", BRATS2021)
    arguments = ("job=evaluate", "job.name=theirs", f"job.predictions={tmp_path / 'theirs'}", "job.workers=1")
    job(*arguments)
    complete = (phantom(work, "evaluation") / "theirs.csv").read_bytes()
    (tmp_path / "theirs" / f"{case_ids[0]}.nii.gz").unlink()
    job(*arguments)
    assert f"has {len(case_ids)} cases and is kept; nothing is written" in capsys.readouterr().out
    assert (phantom(work, "evaluation") / "theirs.csv").read_bytes() == complete
