"""`data.spacing` from prepare to predictions: networks see resampled voxels, files keep theirs."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from brats_ablate import load_predictor
from brats_ablate.data.store import CaseStore
from brats_ablate.errors import ConfigError, DataError
from brats_ablate.runs.directory import RunDirectory

Job = Callable[..., None]
FinishedRun = Callable[..., RunDirectory]
SPACING = "data.spacing=[1.5,1.5,2]"
NO_TTA = "inference=sliding_window_without_tta"


@pytest.fixture
def resampled(work: Path, job: Job) -> Path:
    """The work folder with the phantom cohort prepared again, with other voxels."""
    (work / "phantom" / "prepared").unlink()
    job("job=prepare", SPACING, "job.workers=1")
    return work


@pytest.mark.slow
def test_predictions_of_resampled_cases_are_on_the_grid_of_the_files(
    resampled: Path, job: Job, finished_run: FinishedRun
) -> None:
    prepared = CaseStore(resampled / "phantom" / "prepared")
    case_id = prepared.folds[0][0]
    raw = resampled / "phantom" / "raw"
    settings = ("+experiment=baseline", SPACING, NO_TTA, "inference.labels.wt=0.5")
    run = finished_run(*settings, dice=(0.5,))
    arguments = (*settings, "job=predict", f"job.cases=[{case_id}]")
    job(*arguments, "job.output=stored")
    job(*arguments, "job.output=raw", f"job.source={raw}")
    files = [resampled / "phantom" / "predictions" / o / f"{case_id}.nii.gz" for o in ("stored", "raw")]
    stored, from_raw, original = (nib.load(f) for f in (*files, raw / case_id / f"{case_id}_flair.nii.gz"))
    assert stored.shape == original.shape
    np.testing.assert_array_equal(stored.affine, original.affine)
    np.testing.assert_array_equal(np.asanyarray(stored.dataobj), np.asanyarray(from_raw.dataobj))
    assert np.asanyarray(stored.dataobj).any()
    predicted = load_predictor(run.path, "cpu")(raw / case_id)
    assert predicted.probabilities.shape == (3, *original.shape)
    assert predicted.probabilities.dtype == np.float16
    assert 0 < predicted.probabilities.max() <= 1
    np.testing.assert_array_equal(predicted.labels, np.asanyarray(from_raw.dataobj))


@pytest.mark.slow
def test_labels_are_scored_on_the_grid_of_the_files(resampled: Path, job: Job, tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.mkdir()
    for file in (resampled / "phantom" / "raw").rglob("*_seg.nii.gz"):
        shutil.copyfile(file, own / file.name)  # of another time: else it is the reference itself
    job("job=evaluate", "job.name=own", SPACING, f"job.predictions={own}", "job.workers=1")
    rows = (resampled / "phantom" / "evaluation" / "own.csv").read_text().splitlines()
    dice = [float(row.rsplit(",", 1)[1]) for row in rows if ",dice," in row]
    assert len(dice) == 18
    assert set(dice) == {1.0}


def test_another_spacing_than_the_datas_is_refused(resampled: Path, job: Job, finished_run: FinishedRun) -> None:
    with pytest.raises(
        DataError, match=r"data\.spacing=null, but .* was prepared with \[1\.5,1\.5,2\]; set data\.spac"
    ):
        job("job=evaluate", f"job.predictions={resampled / 'phantom' / 'raw'}")
    finished_run("+experiment=baseline", SPACING, dice=(0.5,))
    with pytest.raises(ConfigError, match=r"data\.spacing=null, but .*baseline.* was trained on \[1\.5,1\.5,2\]; set"):
        job("+experiment=baseline", "job=predict", NO_TTA, f"job.source={resampled / 'phantom' / 'raw'}")
