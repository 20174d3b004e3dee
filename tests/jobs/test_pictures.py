from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from schemes import BRATS2021, REGIONS

from brats_ablate.data.nifti import read_volume, write_labels
from brats_ablate.data.store import CaseStore
from brats_ablate.errors import ConfigError, DataError
from brats_ablate.jobs.predict import write_case
from brats_ablate.report.case_image import CORRECT, PREDICTED, REFERENCE, TISSUE_COLORS, WRONG_TISSUE
from brats_ablate.tables.writers import write_csv

Job = Callable[..., None]
PANEL, GAP = 320, 4


@pytest.fixture
def store(work: Path) -> CaseStore:
    """The prepared cases, each predicted as its reference; the Dice of the evaluation falls from case to case."""
    store = CaseStore(work / "phantom" / "prepared")
    folder = work / "phantom" / "predictions" / "drawn"
    folder.mkdir(parents=True)
    for case_id in store.case_ids:
        write_case(folder / f"{case_id}.nii.gz", store.read_labels(case_id), store.record(case_id), BRATS2021)
    rows = [
        {"case": case_id, "fold": 0, "region": region, "metric": "dice", "value": 0.9 - 0.1 * i}
        for i, case_id in enumerate(store.case_ids)
        for region in REGIONS
    ]
    write_csv(pd.DataFrame(rows), work / "phantom" / "evaluation" / "drawn.csv")
    return store


def colors(file: Path, panel: int) -> set[tuple[int, ...]]:
    """The colors of a column of panels."""
    pixels = np.asarray(Image.open(file))[24:-48, panel * (PANEL + GAP) :][:, :PANEL]
    return {tuple(int(v) for v in c) for c in np.unique(pixels.reshape(-1, 3), axis=0)}


@pytest.mark.slow
def test_the_worst_cases_in_five_columns(job: Job, store: CaseStore, work: Path) -> None:
    job("job=pictures", "job.predictions=drawn", "job.worst=2")
    files = sorted((work / "phantom" / "predictions" / "drawn" / "pictures").iterdir())
    assert [file.stem for file in files] == store.case_ids[-2:]
    picture = np.asarray(Image.open(files[0]))
    assert picture.shape[1] == 5 * (PANEL + GAP) - GAP
    prediction, reference = (picture[24:-48, i * (PANEL + GAP) :][:, :PANEL] for i in (2, 3))
    np.testing.assert_array_equal(prediction, reference)
    assert TISSUE_COLORS[0] in colors(files[0], 2)
    assert CORRECT in colors(files[0], 4)
    assert not {PREDICTED, REFERENCE, WRONG_TISSUE} & colors(files[0], 4)


def test_the_worst_cases_of_one_region(job: Job, store: CaseStore, work: Path) -> None:
    file = work / "phantom" / "evaluation" / "drawn.csv"
    rows = pd.read_csv(file)
    rows.loc[rows["region"] == "ET", "value"] = 1.3 - rows["value"]  # best where the others are worst
    write_csv(rows, file)
    job("job=pictures", "job.predictions=drawn", "job.worst=1", "job.region=ET")
    (picture,) = (work / "phantom" / "predictions" / "drawn" / "pictures").iterdir()
    assert picture.stem == store.case_ids[0]
    job("job=pictures", "job.predictions=drawn", "job.worst=0", f"job.cases=[{store.case_ids[0]}]")
    with pytest.raises(ConfigError, match=r"^job\.region=XX must be mean, or one of ET, TC, WT$"):
        job("job=pictures", "job.predictions=drawn", "job.region=XX")


def test_errors_are_shown(job: Job, store: CaseStore, work: Path) -> None:
    case_id = store.case_ids[0]
    labels = store.read_labels(case_id)
    labels = np.roll(labels, 5, axis=0)
    folder = work / "phantom" / "predictions" / "drawn"
    write_case(folder / f"{case_id}.nii.gz", labels, store.record(case_id), BRATS2021)
    job("job=pictures", "job.predictions=drawn", f"job.cases=[{case_id}]")
    assert {PREDICTED, REFERENCE} <= colors(folder / "pictures" / f"{case_id}.png", 4)


def test_chosen_cases_need_no_evaluation(job: Job, store: CaseStore, work: Path) -> None:
    (work / "phantom" / "evaluation" / "drawn.csv").unlink()
    job("job=pictures", "job.predictions=drawn", f"job.cases=[{store.case_ids[0]}]")
    assert (work / "phantom" / "predictions" / "drawn" / "pictures" / f"{store.case_ids[0]}.png").is_file()
    with pytest.raises(DataError, match="no evaluation"):
        job("job=pictures", "job.predictions=drawn")
    with pytest.raises(ConfigError, match=r"nobody is not in .*drawn and the prepared set"):
        job("job=pictures", "job.predictions=drawn", "job.cases=[nobody]")
    with pytest.raises(ConfigError, match=r"^job\.worst=0 must be at least 1$"):
        job("job=pictures", "job.predictions=drawn", "job.worst=0")


def test_new_cases_with_and_without_a_reference(job: Job, store: CaseStore, work: Path, tmp_path: Path) -> None:
    labeled, new = store.case_ids[:2]
    for case_id in (labeled, new):
        shutil.copytree(work / "phantom" / "raw" / case_id, tmp_path / "new" / case_id)
    (tmp_path / "new" / new / f"{new}_seg.nii.gz").unlink()
    (work / "phantom" / "evaluation" / "drawn.csv").unlink()
    job("job=pictures", "job.predictions=drawn", f"job.source={tmp_path / 'new'}")
    pictures = work / "phantom" / "predictions" / "drawn" / "pictures"
    assert sorted(file.stem for file in pictures.iterdir()) == [labeled, new]
    with Image.open(pictures / f"{new}.png") as picture:
        assert picture.width == 3 * (PANEL + GAP) - GAP  # T1ce, FLAIR, prediction
    from_raw = (pictures / f"{labeled}.png").read_bytes()
    job("job=pictures", "job.predictions=drawn", f"job.cases=[{labeled}]")
    assert (pictures / f"{labeled}.png").read_bytes() == from_raw
    with pytest.raises(ConfigError, match=f"{store.case_ids[2]} is not in .*drawn and .*new"):
        job(
            "job=pictures",
            "job.predictions=drawn",
            f"job.source={tmp_path / 'new'}",
            f"job.cases=[{store.case_ids[2]}]",
        )


def test_a_prediction_of_another_grid_or_scheme_is_refused(job: Job, store: CaseStore, work: Path) -> None:
    case_id = store.case_ids[0]
    file = work / "phantom" / "predictions" / "drawn" / f"{case_id}.nii.gz"
    values, affine = read_volume(file)
    values = np.array(values)
    write_labels(file, values[1:], affine)
    with pytest.raises(DataError, match=f"{case_id}.nii.gz is not on the grid of {case_id}; resample it"):
        job("job=pictures", "job.predictions=drawn", f"job.cases=[{case_id}]")
    values[0, 0, 0] = 3
    write_labels(file, values, affine)
    with pytest.raises(DataError, match=f"{case_id}.nii.gz.* 3 "):
        job("job=pictures", "job.predictions=drawn", f"job.cases=[{case_id}]")
