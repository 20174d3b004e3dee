"""Which files a bundle takes for the channels of a case, and what it calls the result, for layouts of every kind."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser
from monai.data import MetaTensor
from monai.transforms import SaveImage
from omegaconf import DictConfig

from brats_ablate.data.store import CaseStore
from brats_ablate.errors import ConfigError
from brats_ablate.inference.ensemble import choose_members
from brats_ablate.jobs.export.metadata import Exported
from brats_ablate.jobs.export.monai_bundle import _postprocessing, inference_config
from brats_ablate.runs.directory import RunDirectory

FinishedRun = Callable[..., RunDirectory]
Compose = Callable[..., DictConfig]
Config = Callable[..., ConfigParser]
OWN = """
from brats_ablate.inference.sliding_window import SlidingWindow
from brats_ablate.inference.tta import FlipTTA
from brats_ablate.transforms.foreground import ModalitiesOnly
class Window(SlidingWindow): ...
class Rotations(FlipTTA): ...
class Inputs(ModalitiesOnly): ...
"""
MODALITIES = ("flair", "t1", "t1ce", "t2")


@pytest.fixture
def exported(finished_run: FinishedRun, composed: Compose, work: Path) -> Callable[..., Exported]:
    """What is exported of a run with some overrides."""

    def make(*overrides: str) -> Exported:
        finished_run("name=own", "fold=0", *overrides, dice=(0.5,))
        (member,) = choose_members(work / "phantom" / "runs", ["own"], lr="best", seed=0, checkpoints=1)
        return Exported.of(composed("name=own", *overrides), member)

    return make


@pytest.fixture
def config(exported: Callable[..., Exported]) -> Config:
    """The configuration of a bundle: `config('data.layout.images="{case}/{modality}"')`."""
    return lambda *overrides: ConfigParser(inference_config(exported(*overrides)))


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("mri/{case}/{modality}", "mri/{case}/{modality}.nii.gz"),
        ("{case}/{case}_{modality}", "{case}/{case}_{modality}.nii.gz"),
        ("{case}/anat/x_{modality}", "{case}/anat/x_{modality}.nii.gz"),
    ],
)
def test_the_files_of_a_case_and_the_name_of_its_result(
    config: Config, tmp_path: Path, pattern: str, names: str
) -> None:
    files = {c: [tmp_path / "new" / names.format(case=c, modality=m) for m in MODALITIES] for c in ("A", "B.1")}
    for file in (file for of_case in files.values() for file in of_case):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    parser = config(f'data.layout.images="{pattern}"')
    parser["dataset_dir"] = str(tmp_path / "new")
    assert [[*case.values()] for case in parser.get_parsed_content("data")] == [[*map(str, f)] for f in files.values()]
    name = parser.get_parsed_content("postprocessing#transforms#2#output_name_formatter")
    saved = [name({"filename_or_obj": str(of_case[0])}, None)["subject"] for of_case in files.values()]
    assert saved == ["A", "B.1"]


@pytest.mark.parametrize("pattern", ["{modality}/{case}", "{case}/{modality}_{case}", "{modality}/{case}_{modality}"])
def test_a_layout_whose_modality_does_not_follow_the_case_is_refused(config: Config, pattern: str) -> None:
    with pytest.raises(ConfigError, match=r"finds the files of a case by what follows its name, and \{modality\} is"):
        config(f'data.layout.images="{pattern}"')


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        (
            "inference.window._target_=own.Window",
            r"job\.format=monai_bundle has no such inference\.window; set inference=sliding_window",
        ),
        (
            "inference.tta._target_=own.Rotations",
            r"inference\.tta: Rotations cannot be .* option of conf/inference/tta",
        ),
        ("inputs._target_=own.Inputs", r"inputs: Inputs cannot be described to other programs; .* conf/inputs"),
    ],
)
def test_what_a_bundle_cannot_do_is_refused(
    config: Config, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, override: str, sentence: str
) -> None:
    (tmp_path / "own.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigError, match=sentence):
        config(override)


def test_a_run_on_resampled_cases_is_refused(exported: Callable[..., Exported]) -> None:
    found = exported()
    found.cfg.data.spacing = [2, 2, 2]
    with pytest.raises(ConfigError, match=r"monai_bundle cannot resample as data\.spacing does; export ONNX"):
        inference_config(found)


@pytest.mark.slow
def test_volumes_have_the_order_in_which_the_training_data_were_prepared(config: Config, work: Path) -> None:
    with pytest.raises(ConfigError, match=r"the order of the volumes in 4-D files is neither in data\.layout\.volumes"):
        config("data/layout=msd")  # the phantoms are 3-D files
    prepared = work / "phantom" / "prepared"
    original = prepared.resolve()
    prepared.unlink()
    shutil.copytree(original, prepared)
    file = prepared / "cases" / CaseStore(prepared).case_ids[0] / "case.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"volumes": [3, 0, 1, 2]}))
    steps = config("data/layout=msd").get("preprocessing")["transforms"]
    assert steps[4]["func"] == "$lambda x: x[[3, 0, 1, 2]]"


def saved_case(folder: Path, affines: list[np.ndarray], orientations: list[str]) -> tuple[dict[str, str], np.ndarray]:
    """Write a case whose files have an affine and an orientation each; return its item and its channels in RAS+."""
    images = np.zeros((4, 7, 5, 6), dtype=np.int16)
    images[:, 1:6, 1:4, 1:5] = np.random.default_rng(0).integers(1, 99, (4, 5, 3, 4))
    files = {}
    for key, image, affine, orientation in zip(("raw", "1", "2", "3"), images, affines, orientations, strict=True):
        ras = nib.Nifti1Image(image, affine)
        mapping = nib.orientations.axcodes2ornt(orientation)
        files[key] = str(folder / f"{key}.nii.gz")
        nib.save(ras.as_reoriented(nib.orientations.ornt_transform(nib.io_orientation(affine), mapping)), files[key])
    return files, images


def test_files_of_a_case_in_several_orientations_become_channels(config: Config, tmp_path: Path) -> None:
    affines = [np.diag([1.0, 1.5, 2.0, 1.0]) + 2e-6 * number for number in range(4)]
    for affine in affines:
        affine[3] = [0, 0, 0, 1]
    case, images = saved_case(tmp_path, affines, ["PIR", "RAS", "LPS", "SAL"])
    parser = config()
    prepared = parser.get_parsed_content("preprocessing")(case)
    np.testing.assert_array_equal(prepared["raw"].numpy(), images[:, 1:6, 1:4, 1:5])
    inverse = parser.get_parsed_content("postprocessing").transforms[0]
    on_first = inverse({"raw": prepared["raw"], "pred": MetaTensor(prepared["raw"][:1].as_tensor())})["pred"]
    first = nib.load(case["raw"])
    np.testing.assert_array_equal(on_first[0].numpy(), np.asanyarray(first.dataobj))
    np.testing.assert_allclose(on_first.affine, first.affine)


def test_a_file_on_another_grid_is_named(config: Config, tmp_path: Path) -> None:
    moved = np.eye(4)
    moved[0, 3] = 0.01
    case, _ = saved_case(tmp_path, [np.eye(4), np.eye(4), moved, np.eye(4)], ["RAS", "LPS", "RAS", "RAS"])
    with pytest.raises(RuntimeError) as raised:
        config().get_parsed_content("preprocessing")(case)
    assert f"{tmp_path}/2.nii.gz is on another grid than the first file; resample it" in str(raised.value.__cause__)


def test_labels_are_saved_where_the_axes_of_files_are_permuted(
    exported: Callable[..., Exported], tmp_path: Path
) -> None:
    affine = np.array([[0, 0, 1, -20.5], [-1, 0, 0, 21.8], [0, -1.5, 0, 50.5], [0, 0, 0, 1]])
    labels = torch.arange(210, dtype=torch.float32).reshape(1, 7, 5, 6) % 5
    meta = {"original_affine": affine, "spatial_shape": np.array([7, 5, 6])}
    save = SaveImage(tmp_path, output_dtype=torch.uint8, resample=_postprocessing(exported())[-1]["resample"])
    save(MetaTensor(labels, affine=torch.from_numpy(affine), meta=meta))
    saved = nib.load(next(tmp_path.rglob("*.nii.gz")))
    np.testing.assert_allclose(saved.affine, affine)
    np.testing.assert_array_equal(np.asanyarray(saved.dataobj), labels[0].numpy())
