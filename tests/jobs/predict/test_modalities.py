"""Networks of different modalities in one ensemble, and raw cases that lack modalities."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from by_monai import ALL, by_monai

from brats_ablate.data.store import CaseStore
from brats_ablate.errors import DataError
from brats_ablate.inference.prediction_store import PredictionFolder, find_label_files
from brats_ablate.runs.directory import RunDirectory

Job = Callable[..., None]
FinishedRun = Callable[..., RunDirectory]
NO_TTA = "inference=sliding_window_without_tta"
DROPS = ("augment=paper_drop_modality", "name=drops")


def predicted(work: Path, output: str, case_id: str) -> np.ndarray:
    return PredictionFolder(work / "phantom" / "predictions" / output).read_probabilities(case_id)[0]


@pytest.fixture
def new(work: Path, tmp_path: Path) -> Path:
    """A folder with the raw files of the first two prepared cases."""
    for case_id in CaseStore(work / "phantom" / "prepared").case_ids[:2]:
        shutil.copytree(work / "phantom" / "raw" / case_id, tmp_path / "new" / case_id)
    return tmp_path / "new"


def remove(new: Path, case_id: str, *modalities: str) -> None:
    for modality in modalities:
        (new / case_id / f"{case_id}_{modality}.nii.gz").unlink()


@pytest.mark.slow
def test_each_member_of_an_ensemble_gets_its_own_channels(
    job: Job, finished_run: FinishedRun, work: Path, new: Path
) -> None:
    names = {"all": ALL, "two": ("t1ce", "flair"), "turned": ("flair", "t1ce"), "one": ("t2",)}
    chosen = {name: [] if m == ALL else [f"inputs.modalities=[{','.join(m)}]"] for name, m in names.items()}
    runs = {name: finished_run(f"name={name}", *chosen[name], "fold=0", dice=(0.5,)) for name in names}
    case_id = CaseStore(work / "phantom" / "prepared").folds[0][0]
    select = ["job=predict", f"job.runs=[{','.join(names)}]", "job.probabilities=true", NO_TTA]
    job(*select, "name=mean", f"job.cases=[{case_id}]")
    expected = np.mean([by_monai(work, case_id, [runs[name]], modalities=m) for name, m in names.items()], axis=0)
    np.testing.assert_allclose(predicted(work, "mean", case_id), expected, atol=1e-3)
    two, turned = (by_monai(work, case_id, [runs["two"]], modalities=names[name]) for name in ("two", "turned"))
    assert np.abs(turned - two).max() > 0.05

    job(*select, "name=raw", f"job.source={work / 'phantom' / 'raw'}", f"job.cases=[{case_id}]")
    np.testing.assert_array_equal(predicted(work, "raw", case_id), predicted(work, "mean", case_id))


@pytest.mark.slow
def test_a_case_needs_only_what_the_networks_take(job: Job, finished_run: FinishedRun, work: Path, new: Path) -> None:
    run = finished_run("name=two", "inputs.modalities=[t1ce,flair]", "fold=0", dice=(0.5,))
    first, second = sorted(path.name for path in new.iterdir())
    remove(new, first, "t1", "t2")
    remove(new, second, "flair")
    with pytest.raises(
        DataError,
        match=rf"1 cases are not predicted \({second}: modality flair is missing; add the file, as not every network "
        r"was trained for cases without it \(augment=paper_drop_modality\)\)",
    ):
        job("job=predict", "name=two", f"job.source={new}", "job.probabilities=true", NO_TTA)
    assert list(find_label_files(work / "phantom" / "predictions" / "two")) == [first]
    expected = by_monai(work, first, [run], modalities=("t1ce", "flair"))
    np.testing.assert_allclose(predicted(work, "two", first), expected, atol=5e-4)


@pytest.mark.slow
def test_networks_trained_with_dropped_modalities_take_a_case_that_lacks_some(
    job: Job, finished_run: FinishedRun, work: Path, new: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = finished_run(*DROPS, "fold=0", dice=(0.5,))
    first, second = sorted(path.name for path in new.iterdir())
    remove(new, first, "t1", "t2")
    remove(new, second, *ALL)
    with pytest.raises(DataError, match=rf"1 cases .*{second}: no modality of flair, t1, t1ce, t2 is there"):
        job("job=predict", "name=drops", f"job.source={new}", "job.probabilities=true", NO_TTA)
    assert "missing modalities, 0 in the networks' input, as in their training: t1 in 1, t2 in 1 of 1 cases" in (
        capsys.readouterr().out
    )
    expected = by_monai(work, first, [run], zero=("t1", "t2"))
    np.testing.assert_allclose(predicted(work, "drops", first), expected, atol=5e-4)
    assert np.abs(expected - by_monai(work, first, [run])).max() > 0.05


@pytest.mark.slow
@pytest.mark.parametrize(
    "untrained", [["name=plain"], [*DROPS[:1], "name=never", "augment.transforms.drop_modality.p=0"]]
)
def test_one_network_that_was_not_trained_for_it_is_enough_to_refuse_the_case(
    job: Job, finished_run: FinishedRun, work: Path, new: Path, untrained: list[str]
) -> None:
    finished_run(*DROPS, "fold=0", dice=(0.5,))
    name = finished_run(*untrained, "fold=0", dice=(0.5,)).coordinates.name
    first, second = sorted(path.name for path in new.iterdir())
    remove(new, first, "t1ce")
    with pytest.raises(DataError, match=rf"{first}: modality t1ce is missing; add the file, as not every network"):
        job("job=predict", "name=both", f"job.runs=[drops,{name}]", f"job.source={new}", NO_TTA)
    assert list(find_label_files(work / "phantom" / "predictions" / "both")) == [second]


@pytest.mark.slow
def test_a_data_set_without_some_modalities_of_the_networks(
    job: Job, finished_run: FinishedRun, work: Path, new: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = finished_run(*DROPS, "fold=0", dice=(0.5,))
    fewer = [f"~data.layout.modalities.{m}" for m in ("flair", "t1", "t2")]
    job("job=predict", "name=drops", f"job.source={new}", "job.probabilities=true", NO_TTA, *fewer)
    assert "flair in 2, t1 in 2, t2 in 2 of 2 cases" in capsys.readouterr().out
    case_id = sorted(path.name for path in new.iterdir())[0]
    expected = by_monai(work, case_id, [run], zero=("flair", "t1", "t2"))
    np.testing.assert_allclose(predicted(work, "drops", case_id), expected, atol=5e-4)
