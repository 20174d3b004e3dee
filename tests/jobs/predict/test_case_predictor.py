"""`load_predictor` returns what `job=predict` writes, from every kind of images."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch

from brats_ablate import load_predictor
from brats_ablate.data.store import CaseStore
from brats_ablate.errors import ConfigError, DataError
from brats_ablate.inference.prediction_store import PredictionFolder
from brats_ablate.jobs.predict import case_predictor
from brats_ablate.jobs.predict.case_predictor import CasePredictor
from brats_ablate.runs.directory import RunDirectory

Job = Callable[..., None]
FinishedRun = Callable[..., RunDirectory]
ALL = ("flair", "t1", "t1ce", "t2")
ONE_PASS = "sliding_window_without_tta"


@pytest.fixture
def case(work: Path) -> Path:
    """The folder of a raw case."""
    return work / "phantom" / "raw" / CaseStore(work / "phantom" / "prepared").folds[0][0]


def files(case: Path, modalities: tuple[str, ...] = ALL) -> list[Path]:
    return [case / f"{case.name}_{m}.nii.gz" for m in modalities]


@pytest.fixture
def run(finished_run: FinishedRun) -> RunDirectory:
    return finished_run("name=ds", "fold=0", dice=(0.5,))


@pytest.fixture
def predict(run: RunDirectory) -> CasePredictor:
    return load_predictor(run.path, "cpu", inference=ONE_PASS)


@pytest.mark.slow
def test_the_result_is_that_of_the_job(job: Job, finished_run: FinishedRun, work: Path, case: Path) -> None:
    for fold in (0, 1):
        finished_run("name=ds", f"fold={fold}", "inputs=onehot", f"inference={ONE_PASS}")
    raw = (
        "name=ds",
        f"inference={ONE_PASS}",
        f"job.source={work / 'phantom' / 'raw'}",
        f"job.cases=[{case.name}]",
        "postprocess=paper",
    )
    job("job=predict", *raw, "job.probabilities=true")
    folder = PredictionFolder(work / "phantom" / "predictions" / "ds")
    written = nib.load(folder.label_file(case.name))
    cropped, record = folder.read_probabilities(case.name)

    result = load_predictor(work / "phantom" / "runs" / "ds", "cpu", postprocess="paper")(case)
    assert result.labels.any()
    np.testing.assert_array_equal(result.labels, np.asarray(written.dataobj))
    np.testing.assert_array_equal(result.affine, written.affine)
    ras = nib.io_orientation(written.affine)  # phantoms are files in LPS, the store is RAS+
    turned = np.stack([nib.apply_orientation(p, ras) for p in result.probabilities])
    np.testing.assert_array_equal(turned[(slice(None), *record.box.slices)], cropped)
    turned[(slice(None), *record.box.slices)] = 0
    assert not turned.any()
    assert result.regions == ("WT", "TC", "ET")


@pytest.mark.slow
def test_folder_files_arrays_and_mappings_are_one_case(predict: CasePredictor, case: Path, tmp_path: Path) -> None:
    expected = predict(case)
    images = [nib.load(file) for file in files(case)]
    stacked, affine = np.stack([np.asarray(image.dataobj) for image in images]), images[0].affine
    unnamed = [tmp_path / f"{i}.nii.gz" for i in range(4)]
    for image, file in zip(images, unnamed, strict=True):
        nib.save(image, file)
    ras = nib.io_orientation(affine)
    given = {
        "files, by name": predict(files(case)[::-1]),
        "files, in order": predict([str(file) for file in unnamed]),
        "array": predict(stacked, affine),
        "array as float64": predict(stacked.astype(np.float64), affine),
        "mapping": predict({"t2": stacked[3], "t1": files(case)[1], "flair": stacked[0], "t1ce": stacked[2]}, affine),
    }
    for name, result in given.items():
        np.testing.assert_array_equal(result.labels, expected.labels, err_msg=name)
        np.testing.assert_array_equal(result.probabilities, expected.probabilities, err_msg=name)
    assert expected.probabilities.max() > 0
    upright = predict(np.stack([nib.apply_orientation(channel, ras) for channel in stacked]))
    np.testing.assert_array_equal(upright.labels, nib.apply_orientation(expected.labels, ras))


def test_images_that_are_not_one_case_are_refused(
    predict: CasePredictor, case: Path, work: Path, tmp_path: Path
) -> None:
    assert predict.modalities == ALL
    array = np.arange(3 * 8**3, dtype=np.int16).reshape(3, 8, 8, 8)
    folder = work / "phantom" / "raw"
    (unnamed := tmp_path / "x.nii.gz").touch()
    refused: list[tuple[str, object, np.ndarray | None]] = [
        ("has shape (3, 8, 8, 8); it must be (4, X, Y, Z), with the channels flair, t1, t1ce, t2", array, None),
        ("affine has shape (3, 3)", np.ones((4, 8, 8, 8)), np.eye(3)),
        ("affine is that of arrays", case, np.eye(4)),
        ("contains 6 cases", folder, None),
        ("new/sub-99 does not exist; give the folder of a case", "new/sub-99", None),
        ("new/b.nii.gz does not exist", ["new/b.nii.gz"], None),
        ("adc is not a modality", {"adc": array[0]}, None),
        ("images[t1] has shape (8, 8)", {"t1": array[0, 0]}, None),
        ("modality t2 is missing", files(case, ALL[:3]), None),
        ("which modalities the files", [*files(case, ALL[:3]), unnamed], None),
        ("give flair twice", files(case, ("flair", "flair")), None),
        ("images is a Tensor; give images.numpy()", torch.ones(4, 8, 8, 8), np.eye(4)),
        ("images[t1] is a Tensor; give images[t1].numpy()", {"t1": torch.ones(8, 8, 8)}, None),
        ("images[0] is a ndarray; give files, or one array of all channels", list(np.ones((4, 8, 8, 8))), None),
        ("images is a NoneType; give a file", None, None),
        ("images[t2] has 9×8×8 voxels", {**dict.fromkeys(ALL, array[0]), "t2": np.arange(576).reshape(9, 8, 8)}, None),
    ]
    for message, images, affine in refused:
        with pytest.raises(DataError, match=re.escape(message)):
            predict(images, affine)  # type: ignore[arg-type]


@pytest.mark.slow
def test_networks_are_averaged_in_one_order(finished_run: FinishedRun, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = [finished_run("name=ds", f"fold={fold}", dice=(0.5,)).path for fold in (1, 0)]
    monkeypatch.setattr(case_predictor, "CasePredictor", lambda cfg, members, settings: members)
    members: Any = load_predictor(runs, "cpu")
    assert [member.fold for member in members] == [0, 1]


def test_a_network_for_missing_modalities_takes_a_part(finished_run: FinishedRun, case: Path) -> None:
    run = finished_run("name=drops", "augment=paper_drop_modality", "fold=0", dice=(0.5,))
    predict = load_predictor(run.path, "cpu", inference=ONE_PASS)
    partial = predict(files(case, ("flair", "t1ce")))
    assert (partial.probabilities != predict(case).probabilities).any()
    with pytest.raises(DataError, match="no modality of flair, t1, t1ce, t2 is there"):
        predict({})


def test_what_cannot_be_loaded_is_one_sentence(
    run: RunDirectory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load: Any = load_predictor
    with pytest.raises(ConfigError, match="is neither a run directory nor the folder of an experiment's runs"):
        load(tmp_path)
    with pytest.raises(ConfigError, match="runs is empty"):
        load([])
    with pytest.raises(ConfigError, match="inference"):
        load(run.path, inference="sliding")
    with pytest.raises(ConfigError, match=r"tuned\.yaml does not exist"):
        load(run.path, settings=tmp_path / "tuned.yaml")
    with pytest.raises(ConfigError, match=r"^precision=fp8 must be one of auto, fp32, tf32, bf16, fp16$"):
        load(run.path, precision="fp8")
    with pytest.raises(ConfigError, match=r"^device=gpu must be one of auto, cpu, cuda$"):
        load(run.path, "gpu")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(ConfigError, match=r"^device=cuda:0: .*, or set device=cpu$"):
        load(run.path, torch.device("cuda:0"))
    with pytest.raises(ConfigError, match=r"^precision=tf32 needs an NVIDIA GPU"):
        load(run.path, torch.device("cpu"), precision="tf32")
    with pytest.raises(ConfigError, match=r"^lr=high must be best, or a learning rate$"):
        load(run.path.parents[2], lr="high")
    with pytest.raises(ConfigError, match=r"^runs: ds has no finished run with lr=0.5 "):
        load(run.path.parents[2], lr="0.5")
    load(run.path.parents[2], "cpu", lr=str(run.coordinates.lr))
    config = run.path / "config.yaml"
    config.write_text(config.read_text().replace("brats_ablate.inference.postprocess.NoPostprocess", "os.system"))
    with pytest.raises(ConfigError, match=r"config\.yaml: postprocess\._target_ names os\.system"):
        load(run.path)
