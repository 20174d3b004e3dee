"""`job.disagreement=true`: the SD over the members, on the grid of the files."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from brats_ablate.data.store import CaseStore, to_original_space
from brats_ablate.errors import ConfigError
from brats_ablate.inference.prediction_store import PredictionFolder, find_label_files
from brats_ablate.runs.directory import RunDirectory

Job = Callable[..., None]
FinishedRun = Callable[..., RunDirectory]
PREDICT = ("job=predict", "inference=sliding_window_without_tta", "job.runs=[baseline,ds_onehot]")


@pytest.fixture
def case_id(finished_run: FinishedRun, work: Path) -> str:
    """A case of fold 0, which two networks of different inputs predict."""
    for name in ("baseline", "ds_onehot"):
        finished_run(f"+experiment={name}", "fold=0", dice=(0.5,))
    return CaseStore(work / "phantom" / "prepared").folds[0][0]


def folder(work: Path, output: str) -> PredictionFolder:
    return PredictionFolder(work / "phantom" / "predictions" / output)


def values(file: Path) -> np.ndarray:
    return np.asanyarray(nib.load(file).dataobj)


@pytest.mark.slow
def test_it_is_the_sd_over_members_predicted_one_by_one(job: Job, case_id: str, work: Path) -> None:
    chosen = f"job.cases=[{case_id}]"
    job(*PREDICT, "name=plain", chosen, "job.probabilities=true")
    job(*PREDICT, "name=both", chosen, "job.probabilities=true", "job.disagreement=true")
    for name in ("baseline", "ds_onehot"):
        job(*PREDICT, f"name={name}", chosen, "job.probabilities=true", f"job.runs=[{name}]")
    single = [
        folder(work, name).read_probabilities(case_id)[0].astype(np.float64) for name in ("baseline", "ds_onehot")
    ]
    mean, record = folder(work, "both").read_probabilities(case_id)
    image = nib.load(folder(work, "both").disagreement_file(case_id))
    expected = to_original_space(record, np.std(single, axis=0).max(axis=0))
    assert image.get_data_dtype() == np.float32
    np.testing.assert_allclose(np.asanyarray(image.dataobj), expected, atol=5e-4)  # the members are saved as float16
    assert expected.max() > 0.05
    original = nib.load(work / "phantom" / "raw" / case_id / f"{case_id}_flair.nii.gz")
    np.testing.assert_allclose(image.affine, original.affine)
    assert not values(folder(work, "both").disagreement_file(case_id))[
        to_original_space(record, np.ones(record.box.shape, np.uint8)) == 0
    ].any()
    # The mean and the labels have the bits that they have without.
    np.testing.assert_array_equal(mean, folder(work, "plain").read_probabilities(case_id)[0])
    labels = [folder(work, name).label_file(case_id).read_bytes() for name in ("both", "plain")]
    assert labels[0] == labels[1]
    assert not (folder(work, "plain").path / "disagreement").exists()


@pytest.mark.slow
def test_an_earlier_output_is_completed_and_its_maps_are_no_label_files(job: Job, case_id: str, work: Path) -> None:
    arguments = (*PREDICT, "name=both", f"job.cases=[{case_id}]")
    job(*arguments)
    before = folder(work, "both").label_file(case_id).read_bytes()
    job(*arguments, "job.disagreement=true")
    found = find_label_files(folder(work, "both").path)
    assert found == {case_id: folder(work, "both").label_file(case_id)}
    assert found[case_id].read_bytes() == before
    written = folder(work, "both").disagreement_file(case_id).stat().st_mtime_ns
    job(*arguments, "job.disagreement=true")
    assert folder(work, "both").disagreement_file(case_id).stat().st_mtime_ns == written


def test_a_folder_of_another_program_may_have_the_name_of_the_maps_folder(tmp_path: Path) -> None:
    (tmp_path / "disagreement").mkdir()
    (tmp_path / "disagreement" / "A.nii.gz").touch()
    assert list(find_label_files(tmp_path)) == ["A"]


@pytest.mark.slow
def test_rejects_one_network_and_saved_means(job: Job, case_id: str, work: Path, tmp_path: Path) -> None:
    one = ("name=one", "job.runs=[baseline]", "job.disagreement=true")
    with pytest.raises(ConfigError, match=r"job\.disagreement=true needs two or more networks .* fold 0 has 1; set "):
        job(*PREDICT, *one, f"job.cases=[{case_id}]")
    shutil.copytree(work / "phantom" / "raw" / case_id, tmp_path / "new" / case_id)
    with pytest.raises(ConfigError, match=r"job\.disagreement=true needs two or more networks .* there is 1; set "):
        job(*PREDICT, *one, f"job.source={tmp_path / 'new'}")
    job(*PREDICT, "name=both", f"job.cases=[{case_id}]", "job.probabilities=true")
    with pytest.raises(ConfigError, match=r"job\.reuse has only their mean; leave job\.reuse out"):
        job(*PREDICT, "job.output=again", "job.reuse=both", "job.disagreement=true")
    assert not folder(work, "one").path.exists()


@pytest.mark.slow
def test_maps_of_resampled_cases_are_on_the_grid_of_the_files(job: Job, finished_run: FinishedRun, work: Path) -> None:
    spacing = "data.spacing=[1.5,1.5,2]"
    (work / "phantom" / "prepared").unlink()
    job("job=prepare", spacing, "job.workers=1")
    case_id = CaseStore(work / "phantom" / "prepared").folds[0][0]
    for name in ("baseline", "ds_onehot"):
        finished_run(f"+experiment={name}", spacing, "fold=0", dice=(0.5,))
    job(*PREDICT, spacing, "name=both", f"job.cases=[{case_id}]", "job.disagreement=true", "job.probabilities=true")
    disagreement = values(folder(work, "both").disagreement_file(case_id))
    labels = values(folder(work, "both").label_file(case_id))
    assert disagreement.shape == labels.shape
    assert 0.05 < disagreement.max() <= 0.5  # the largest SD of two probabilities
