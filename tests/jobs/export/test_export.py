"""Exports agree with this program's own output, on any size, and run without it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser, verify_net_in_out
from omegaconf import OmegaConf
from schemes import BRATS2021, GLI2024

from brats_ablate.data.store import CaseStore, to_original_space
from brats_ablate.errors import ConfigError, RunFailed, UserError
from brats_ablate.inference.prediction_store import PredictionFolder
from brats_ablate.inference.thresholds import RegionThresholds
from brats_ablate.jobs import build
from brats_ablate.jobs.export import network
from brats_ablate.jobs.export.monai_bundle import labels_expression
from brats_ablate.labels.scheme import LabelScheme
from brats_ablate.models.base import SegmentationOutput
from brats_ablate.runs.directory import RunDirectory
from brats_ablate.training.checkpoint import load_weights
from brats_ablate.transforms.foreground import WithForegroundMask
from brats_ablate.transforms.pipeline import case_input

Job = Callable[..., None]
FinishedRun = Callable[..., RunDirectory]
ONE_PASS = "inference=sliding_window_without_tta"
WINDOW = {"_target_": "brats_ablate.inference.sliding_window.SlidingWindow", "overlap": 0.5, "sigma_scale": 0.125}
BUNDLE = ("job=export", "job.format=monai_bundle")


def model_of(run: RunDirectory) -> torch.nn.Module:
    cfg = OmegaConf.create(run.config())
    model = build.build_model(cfg)
    load_weights(run.best_checkpoints()[0], model)
    return model.eval()


def metadata(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "metadata.json").read_text())
    return content


@pytest.mark.slow(minutes=1)
def test_onnx_agrees_on_any_size_and_says_how_to_use_it(job: Job, finished_run: FinishedRun, work: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime", reason="the extra [export] is not installed")
    ds = ("+experiment=ds", "inputs=onehot", "fold=1")
    run = finished_run(*ds, dice=(0.5,))
    job(*ds, "job=export")
    folder = work / "phantom" / "exports" / "ds_fold1_onnx"
    assert sorted(file.name for file in folder.iterdir()) == ["metadata.json", "model.onnx"]
    session = onnxruntime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
    model = model_of(run)
    for shape in ((16, 16, 16), (24, 32, 40), (8, 16, 48)):
        image = torch.randn(1, 5, *shape)
        with torch.no_grad():
            expected = model(image).logits[0].sigmoid()
        (logits,) = session.run(["logits"], {"image": image.numpy()})
        assert (torch.from_numpy(logits).sigmoid() - expected).abs().max() < 1e-4
    content = metadata(folder)
    assert content["network_data_format"]["inputs"]["image"]["spatial_shape"] == ["8*n", "8*n", "8*n"]
    own = content["brats_ablate"]
    assert own["preprocessing"]["channels"] == ["flair", "t1", "t1ce", "t2", "foreground"]
    assert max(own["verified"]["largest_difference"].values()) < 1e-4
    assert own["window"]["patch_shape"] == [16, 16, 16]
    assert [(r["region"], r["value"], r["within"]) for r in own["decoding"]["regions"]] == [
        ("WT", 2, []),
        ("TC", 1, ["WT"]),
        ("ET", 4, ["WT", "TC"]),
    ]
    np.testing.assert_allclose([r["threshold"] for r in own["decoding"]["regions"]], [0.45, 0.4, 0.45], atol=2e-4)


@pytest.mark.slow(minutes=1)
@pytest.mark.parametrize(
    "options",
    [
        ("inputs=onehot",),
        (
            "inputs=onehot_as_released",
            "inference=as_released",
            "inference.tta._target_=brats_ablate.inference.tta.NoTTA",
        ),
    ],
)
def test_the_bundle_runs_by_monai_alone(
    options: tuple[str, ...], job: Job, finished_run: FinishedRun, work: Path, tmp_path: Path
) -> None:
    ds = ("+experiment=ds", "fold=0", "trainer.precision=fp32", *options)
    finished_run(*ds, dice=(0.5,))
    bundle, raw = tmp_path / "bundle", work / "phantom" / "raw"
    job(*ds, *BUNDLE, f"job.output={bundle}")
    job(*ds, "job=predict", f"job.source={raw}", "job.checkpoints=1", "job.probabilities=true")

    config = (bundle / "configs" / "inference.json").read_text()
    assert "brats_ablate" not in config
    command = [sys.executable, "-m", "monai.bundle", "run", "--config_file", str(bundle / "configs/inference.json")]
    command += ["--bundle_root", str(bundle), "--dataset_dir", str(raw)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "6 cases in" in done.stdout
    folder, thresholds = PredictionFolder(work / "phantom" / "predictions" / "ds"), [0.45, 0.4, 0.45]
    if "inference=as_released" in options:
        thresholds = [0.5] * 3
    written = sorted((bundle / "predictions").glob("*.nii.gz"))
    assert [file.name for file in written] == [f"Phantom_{i:05d}_seg.nii.gz" for i in range(6)]
    differing = 0
    for file in written:
        own, other = nib.load(folder.label_file(file.name.removesuffix("_seg.nii.gz"))), nib.load(file)
        np.testing.assert_allclose(other.affine, own.affine)
        probabilities, record = folder.read_probabilities(file.name.removesuffix("_seg.nii.gz"))
        labels = np.asarray(own.dataobj)
        is_other = labels != np.asarray(other.dataobj)
        # Random weights leave many voxels at a threshold, where the last digit of fp32 rounds to another float16.
        margin = np.abs(to_original_space(record, probabilities) - np.reshape(thresholds, (3, 1, 1, 1))).min(axis=0)
        assert margin[is_other].max(initial=0) < 5e-4
        assert len(np.unique(labels)) == 4
        differing += int(is_other.sum())
    assert differing <= 6 * labels.size * 1e-4


@pytest.mark.slow
def test_torchscript_takes_any_size_and_batch(finished_run: FinishedRun, job: Job, tmp_path: Path) -> None:
    ds = ("+experiment=ds", "fold=0")
    run = finished_run(*ds, dice=(0.5,))
    job(*ds, *BUNDLE, f"job.output={tmp_path}/bundle", f"job.run='{run.path}'")
    exported = network.open_exported(tmp_path / "bundle" / "models" / "model.ts")
    image, model = torch.randn(3, 4, 16, 24, 32), model_of(run)
    with torch.no_grad():
        assert (exported(image).sigmoid() - model(image).logits[0].sigmoid()).abs().max() < 1e-5
    configs = tmp_path / "bundle" / "configs"
    assert metadata(configs)["network_data_format"]["inputs"]["image"]["num_channels"] == 4
    # MONAI's own check of channels and shapes; raises where the network contradicts the metadata.
    files = {"meta_file": str(configs / "metadata.json"), "config_file": str(configs / "inference.json")}
    verify_net_in_out("network_def", **files, device="cpu", n=3, bundle_root=str(tmp_path / "bundle"))


@pytest.mark.slow
def test_the_bundle_prepares_a_4d_file_as_this_program(
    finished_run: FinishedRun, job: Job, work: Path, tmp_path: Path
) -> None:
    volumes = ("t2", "flair", "t1", "t1ce")
    msd = ("name=msd", "fold=0", "inputs=onehot", "data/layout=msd", f"data.layout.volumes=[{','.join(volumes)}]")
    finished_run(*msd, dice=(0.5,))
    job(*msd, *BUNDLE, f"job.output={tmp_path}/bundle")
    store = CaseStore(work / "phantom" / "prepared")
    folder = work / "phantom" / "raw" / (case_id := store.case_ids[0])
    images = [nib.load(folder / f"{case_id}_{m}.nii.gz") for m in volumes]
    stacked = np.stack([np.asarray(image.dataobj) for image in images], axis=-1)
    stacked[..., 1] -= 1000  # a background that is not 0
    (tmp_path / "imagesTr").mkdir()
    nib.save(nib.Nifti1Image(stacked, images[0].affine), tmp_path / "imagesTr" / f"{case_id}.nii.gz")

    parser = ConfigParser()
    parser.read_config(tmp_path / "bundle" / "configs" / "inference.json")
    parser["dataset_dir"] = str(tmp_path / "imagesTr")
    (case,) = parser.get_parsed_content("data")
    actual = parser.get_parsed_content("preprocessing")(case)["image"]
    record, channels = store.record(case_id), WithForegroundMask()
    expected = case_input(store.read_images(case_id), record, channels, torch.device("cpu"))[0]
    assert actual.shape == expected.shape
    assert (actual.as_tensor() - expected).abs().max() < 1e-4


@pytest.mark.parametrize("scheme", [BRATS2021, GLI2024], ids=lambda s: s.name)
def test_the_thresholds_of_a_bundle_are_the_cascade(scheme: LabelScheme) -> None:
    thresholds = RegionThresholds(wt=0.45, tc=0.4, et=0.45, others=0.5)
    rows = [
        row | {"threshold": float(np.float16(t)), "comparison": ">="}
        for row, t in zip(scheme.decoding(), thresholds.of(scheme), strict=True)
    ]
    # Multiples of .05 in float16, so that many lie at a threshold.
    probabilities = (np.random.default_rng(0).integers(6, 13, (len(rows), 9, 9, 9)) / 20).astype(np.float16)
    actual = eval(labels_expression(rows), {"torch": torch, "x": torch.from_numpy(probabilities).float()})
    np.testing.assert_array_equal(actual[0].numpy(), scheme.decode(thresholds(probabilities, scheme)))


@pytest.mark.slow
def test_an_export_that_differs_is_not_kept(
    finished_run: FinishedRun, job: Job, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ds = ("+experiment=ds", "fold=0")
    finished_run(*ds, dice=(0.5,))
    real = network.open_exported
    monkeypatch.setattr(network, "open_exported", lambda file: lambda image: real(file)(image) + 1e-2)
    with pytest.raises(RunFailed, match=r"model\.ts is not kept: a probability differs by .* on a patch"):
        job(*ds, *BUNDLE)
    assert not list((work / "phantom" / "exports").iterdir())


def test_a_network_whose_trace_holds_for_one_shape_is_exported_for_the_patch(tmp_path: Path) -> None:
    class Shifted(network.SegmentationModel):
        """Adds numbers that Python computes from the shape, which a trace keeps as constants."""

        def forward(self, x: torch.Tensor) -> SegmentationOutput:
            return SegmentationOutput([x[:, :3] + torch.linspace(0, 1, int(x.shape[2]))[:, None, None]], {})

    cfg, file = OmegaConf.create({"inference": {"window": WINDOW}, "patches": {"shape": [8, 8, 8]}}), tmp_path / "x.ts"
    model = Shifted((8, 8, 8), (8, 8, 8))
    assert not network.has_fixed_shape(model)
    network.save_torchscript(model, 4, file)
    with pytest.raises(RunFailed, match=r"does not take an input of \[16, 8, 24\] voxels; set job\.fixed_shape=true"):
        network.verify(cfg, model, 4, file, 1e-4, fixed_shape=False)
    assert network.verify(cfg, model, 4, file, 1e-4, fixed_shape=True).keys() == {"patch", "odd volume"}


@pytest.mark.slow
def test_what_cannot_be_exported_is_one_sentence(
    finished_run: FinishedRun, job: Job, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    ds = ("+experiment=ds", "fold=0")
    finished_run(*ds, dice=(0.5,))
    refused = {
        r"job\.format=coreml does not exist; choose onnx or monai_bundle": ("job.format=coreml",),
        r"job\.run=.* is not a run directory": (f"job.run={tmp_path}",),
        r"^name: onehot has no finished run with lr=best and seed=0": ("name=onehot",),
        r"ds has no finished run of fold 2; train it, or choose fold=0": ("fold=2",),
        r"set postprocess=none, or export ONNX": ("job.format=monai_bundle", "postprocess=paper"),
        r"set inference=sliding_window, or export ONNX": ("job.format=monai_bundle", "inference=whole_volume"),
    }
    monkeypatch.setattr(network, "find_spec", lambda name: object())
    for message, overrides in refused.items():
        with pytest.raises(ConfigError, match=message):
            job(*ds, "job=export", *overrides)
    monkeypatch.setattr(network, "find_spec", lambda name: None if name == "onnxscript" else object())
    with pytest.raises(UserError, match=r"needs onnxscript; install it with pip install 'brats-ablate\[export\]'"):
        job(*ds, "job=export")


def test_a_network_that_torch_cannot_trace_is_named() -> None:
    class Odd(network.SegmentationModel):
        def forward(self, x: torch.Tensor) -> Any:
            raise NotImplementedError("no such operation")

    with pytest.raises(RunFailed, match=r"Odd cannot be exported to TorchScript \(no such operation\)"):
        network.save_torchscript(Odd((8, 8, 8)), 4, Path("x.ts"))


def test_nothing_is_written_into_a_folder_of_other_files(job: Job, finished_run: FinishedRun, tmp_path: Path) -> None:
    finished_run("+experiment=baseline", dice=(0.5,))
    for folder in (tmp_path / "raw", tmp_path / "bundle" / "configs"):
        folder.mkdir(parents=True)
    (tmp_path / "raw" / "case.nii.gz").touch()
    (tmp_path / "bundle" / "configs" / "metadata.json").write_text('{"version": "of another program"}')
    for name in ("raw", "bundle", "raw/case.nii.gz"):
        with pytest.raises(ConfigError, match=rf"{name} is not of an earlier export; give a new folder as job\.output"):
            job(*BUNDLE, "+experiment=baseline", f"job.output={tmp_path / name}")
    assert [path.name for path in (tmp_path / "raw").iterdir()] == ["case.nii.gz"]
