"""Cases that were prepared without a segmentation: predicted by the networks of all folds, and part of nothing else."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from brats_ablate.data.store import CaseStore
from brats_ablate.errors import ConfigError, DataError
from brats_ablate.inference.prediction_store import PredictionFolder, find_label_files
from brats_ablate.runs.directory import RunDirectory
from brats_ablate.tuning.search import cross_validated_cases

Job = Callable[..., None]
FinishedRun = Callable[..., RunDirectory]
UNLABELED = "Phantom_00005"
PREDICT = ("+experiment=baseline", "job=predict", "inference=sliding_window_without_tta", "job.probabilities=true")


@pytest.fixture
def raw(work: Path, job: Job) -> Path:
    """The folder of the phantoms, of which one has no segmentation; all are prepared."""
    raw = Path(shutil.copytree((work / "phantom" / "raw").resolve(), work / "some"))
    (raw / UNLABELED / f"{UNLABELED}_seg.nii.gz").unlink()
    (work / "phantom" / "prepared").unlink()
    prepare(job, raw)
    return raw


def prepare(job: Job, raw: Path, *overrides: str) -> None:
    arguments = ("data.phantom=null", f"data.raw={raw}", "job.require_segmentation=false", "job.workers=1")
    job("job=prepare", *arguments, *overrides)


def folder(work: Path, output: str) -> PredictionFolder:
    return PredictionFolder(work / "phantom" / "predictions" / output)


@pytest.mark.slow
def test_all_networks_predict_a_prepared_case_without_labels(
    raw: Path, job: Job, finished_run: FinishedRun, work: Path
) -> None:
    for fold in range(2):
        finished_run("+experiment=baseline", f"fold={fold}", dice=(0.5,))
    one = (*PREDICT, f"job.cases=[{UNLABELED}]")
    job(*one, "job.disagreement=true")
    job(*one, "job.output=raw", f"job.source={raw}")
    prepared, read = (folder(work, output).read_probabilities(UNLABELED)[0] for output in ("baseline", "raw"))
    np.testing.assert_array_equal(prepared, read)
    with pytest.raises(ConfigError, match=r"no finished run of fold 2"):
        job(*PREDICT, "job.disagreement=true")

    finished_run("+experiment=baseline", "fold=2", dice=(0.5,))
    job(*PREDICT, "job.output=all")
    assert sorted(find_label_files(folder(work, "all").path)) == CaseStore(work / "phantom" / "prepared").case_ids
    store = CaseStore(work / "phantom" / "prepared")
    assert sorted(cross_validated_cases(folder(work, "all").path, store).ids) == store.case_ids[:5]
    job("job=evaluate", "job.name=all", "job.workers=1")
    assert UNLABELED not in (work / "phantom" / "evaluation" / "all.csv").read_text()


@pytest.mark.slow
def test_networks_of_other_data_predict_a_set_without_labels(
    raw: Path, job: Job, finished_run: FinishedRun, work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = finished_run("+experiment=baseline", "fold=0", dice=(0.5,))
    for file in raw.glob("*/*_seg.nii.gz"):
        file.unlink()
    capsys.readouterr()
    prepare(job, raw, "data.name=new", f"paths.work={work}/new")
    assert capsys.readouterr().out.splitlines()[-1].startswith("no case has a segmentation to train on; predict them")
    elsewhere = ("job.output=them", f"job.runs=['{run.path}']", "data.name=new", f"paths.work={work}/new")
    job(*PREDICT, *elsewhere)
    own = PredictionFolder(work / "new" / "predictions" / "them")
    assert len(find_label_files(own.path)) == 6
    with pytest.raises(DataError, match=r"no case of .*prepared has a segmentation"):
        cross_validated_cases(own.path, CaseStore(work / "new" / "prepared"))
    three = "~data.layout.modalities.t2"
    prepare(job, raw, three, "data.name=less", f"paths.work={work}/less")
    with pytest.raises(ConfigError, match=r"contains no t2, which a network takes"):
        job(*PREDICT, "job.output=them", f"job.runs=['{run.path}']", "data.name=less", f"paths.work={work}/less")
