from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from nnunet_results import LABELS, REGIONS, own, write_results
from omegaconf import OmegaConf
from schemes import BRATS2021
from torch import nn

from brats_ablate import load_predictor
from brats_ablate.config.data_options import scheme_named
from brats_ablate.data.case_reader import PreparedCase
from brats_ablate.data.store import CaseStore
from brats_ablate.errors import ConfigError, DataError, RunFailed
from brats_ablate.jobs.build import build_model
from brats_ablate.jobs.predict.nnunet_case import as_nnunet
from brats_ablate.runs.directory import RunDirectory, find_runs
from brats_ablate.runs.state import RunState
from brats_ablate.training import checkpoint
from brats_ablate.transforms.nnunet_input import NnunetInput

architectures = pytest.importorskip(
    "dynamic_network_architectures.architectures.unet", reason="dynamic-network-architectures is not installed"
)
Job = Callable[..., None]
IMPORT = ("job=import", "job.columns=false", "job.check=false", "job.prediction_labels=msd", "job.name=theirs")
ARGUMENTS: dict[str, Any] = {
    "n_stages": 3,
    "features_per_stage": [4, 6, 8],
    "kernel_sizes": [[3, 3, 3]] * 3,
    "strides": [[1, 1, 1], [2, 2, 2], [2, 2, 2]],
    "n_conv_per_stage": [2, 2, 2],
    "n_conv_per_stage_decoder": [2, 2],
    "conv_bias": True,
    "norm_op_kwargs": {"eps": 1e-05, "affine": True},
    "nonlin_kwargs": {"inplace": True},
}
LAYERS = {"conv_op": "torch.nn.Conv3d", "norm_op": "torch.nn.InstanceNorm3d", "nonlin": "torch.nn.LeakyReLU"}


def network(arguments: dict[str, Any], outputs: int) -> nn.Module:
    layers = {key: getattr(nn, name.rpartition(".")[2]) for key, name in LAYERS.items()}
    torch.manual_seed(0)
    model = architectures.PlainConvUNet(input_channels=4, num_classes=outputs, **arguments, **layers)
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.3)
    return model.eval()


def trained(
    folder: Path, work: Path, labels: dict[str, Any], folds: dict[int, list[str]], **arguments: Any
) -> tuple[Path, nn.Module]:
    """Write results with the checkpoint of one network in every fold; return their folder and the network."""
    arguments = ARGUMENTS | arguments
    configuration = {
        "preprocessor_name": "DefaultPreprocessor",
        "patch_size": [16, 24, 32],
        "spacing": [1.0, 1.0, 1.0],
        "normalization_schemes": ["ZScoreNormalization"] * 4,
        "use_mask_for_norm": [True] * 4,
        "architecture": {
            "network_class_name": "dynamic_network_architectures.architectures.unet.PlainConvUNet",
            "arch_kwargs": arguments | LAYERS,
        },
    }
    results = write_results(folder, work / "phantom/prepared", folds, labels, configuration)
    model = network(arguments, 4 if labels is LABELS else 3)
    for fold in folds:
        given = {"configuration": "3d_fullres", "fold": fold, "dataset_json": {"labels": labels}}
        plans = {"configurations": {"3d_fullres": configuration}}
        content = {
            "network_weights": model.state_dict(),
            "trainer_name": "nnUNetTrainer",
            "init_args": given | {"plans": plans, "device": torch.device("cpu")},
            "logging": {"dice": [np.float32(0.5)]},
            "_best_ema": np.float64(0.5),
            "current_epoch": 2,
            "inference_allowed_mirroring_axes": (0, 2),
        }
        torch.save(content, results / f"fold_{fold}/checkpoint_final.pth")
    return results, model


def imported(work: Path, fold: int = 0) -> RunDirectory:
    return RunDirectory(work / f"phantom/imported/theirs/fold={fold}/lr=0/seed=0")


@pytest.mark.slow
@pytest.mark.parametrize("labels", [LABELS, REGIONS])
@pytest.mark.parametrize(
    ("arguments", "target"),
    [
        ({}, "models.unet.UNet"),
        ({"conv_bias": False}, "models.unet.UNet"),
        ({"strides": [[1, 1, 1], [1, 2, 2], [2, 2, 2]]}, "models.external.ExternalModel"),
    ],
)
def test_an_imported_network_is_nnunets_along_our_axes(
    job: Job, work: Path, tmp_path: Path, labels: dict[str, Any], arguments: dict[str, Any], target: str
) -> None:
    results, theirs = trained(tmp_path / "nnunet", work, labels, {0: own(work)[0]}, **arguments)
    job(*IMPORT, f"job.source={results}")
    run = imported(work)
    config = run.config()
    assert target in json.dumps(config["model"])
    model = build_model(OmegaConf.create(config))
    checkpoint.load_weights(run.best_checkpoints()[0], model)
    x = torch.randn(1, 4, 16, 12, 8, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        found = model.eval()(x).logits[0]
        expected = theirs(x.permute(0, 1, 4, 3, 2)).permute(0, 1, 4, 3, 2)
    if labels is LABELS:
        p = expected.softmax(dim=1)
        sums = torch.stack([p[:, 1:].sum(1), p[:, 2:].sum(1), p[:, 3]], dim=1)
        torch.testing.assert_close(found.sigmoid(), sums, atol=1e-4, rtol=0)
    else:
        torch.testing.assert_close(found, expected, atol=1e-3, rtol=1e-4)
    assert float(expected.std()) > 0.1
    assert config["inference"]["window"]["mirror_axes"] == [0, 2]  # nnU-Net's 2 and 0


def test_it_is_no_run(job: Job, work: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results, _ = trained(tmp_path / "nnunet", work, REGIONS, own(work))
    job(*IMPORT, f"job.source={results}")
    assert find_runs(work / "phantom/runs") == []
    status, manifest = imported(work).status(), imported(work).manifest()
    assert (status.state, status.epochs) == (RunState.IMPORTED, 0)
    assert manifest["imported"]["program"] == "nnU-Net v2"
    assert manifest["imported"]["trainer"] == "nnUNetTrainer"
    capsys.readouterr()
    job("job=tables")
    assert "theirs" not in capsys.readouterr().out


@pytest.mark.slow
def test_predictions_of_another_network_of_the_same_name_are_refused(job: Job, work: Path, tmp_path: Path) -> None:
    predict = ("job=predict", f"job.runs=['{imported(work).path}']", f"job.source={work / 'phantom/raw'}")
    one = f"job.cases=[{own(work)[0][0]}]"
    for number, folder in enumerate(("first", "second")):
        results, model = trained(tmp_path / folder, work, REGIONS, {0: own(work)[0]})
        file = results / "fold_0/checkpoint_final.pth"
        content = torch.load(file, weights_only=False)
        content["network_weights"] = {key: value + number for key, value in model.state_dict().items()}
        torch.save(content, file)
        job(*IMPORT, f"job.source={results}")
        if number == 0:
            job(*predict, one, "inference=nnunet_regions")
            shutil.rmtree(imported(work).path)
    with pytest.raises(RunFailed, match=r"different predictions \(theirs fold=0 .*imported\.pt: \w+ -> \w+\)"):
        job(*predict, one, "inference=nnunet_regions")


@pytest.mark.slow
def test_it_is_exported_and_fine_tuned(job: Job, brats_ablate: Callable[..., Any], work: Path, tmp_path: Path) -> None:
    results, _ = trained(tmp_path / "nnunet", work, REGIONS, own(work))
    job(*IMPORT, f"job.source={results}")
    run = imported(work).path
    export = ("job=export", f"job.run='{run}'", f"job.output={tmp_path / 'exported'}")
    job(*export)
    metadata = json.loads((tmp_path / "exported/metadata.json").read_text())["brats_ablate"]
    assert metadata["preprocessing"]["orientation"] == "X, Y, Z, each in the direction of the file"
    assert metadata["preprocessing"]["mask"] == [True] * 4
    with pytest.raises(ConfigError, match="no step for nnU-Net's normalization; export ONNX"):
        job(*export, "job.format=monai_bundle")

    unet = ("model=unet_as_released", "encoder.channels=[4,6,8]", "fold=0", "trainer.epochs=1")
    tuning = brats_ablate(*unet, "+experiment=baseline", f"init.checkpoint={run}")
    assert tuning.returncode == 0, tuning.stdout
    assert "initial weights of" in tuning.stdout
    leaking = brats_ablate(*unet, "+experiment=baseline", "fold=1", "name=other", f"init.checkpoint={run}")
    assert "were trained on validation cases of this run" in leaking.stdout


def test_the_same_import_again_is_accepted_and_another_refused(job: Job, work: Path, tmp_path: Path) -> None:
    results, _ = trained(tmp_path / "nnunet", work, REGIONS, {0: own(work)[0]})
    job(*IMPORT, f"job.source={results}")
    job(*IMPORT, f"job.source={results}")
    file = results / "fold_0/checkpoint_final.pth"
    content = torch.load(file, weights_only=False)
    content["network_weights"]["decoder.seg_layers.1.bias"] += 1
    torch.save(content, file)
    with pytest.raises(RunFailed, match=r"contains another import; delete it, or set job\.name="):
        job(*IMPORT, f"job.source={results}")


@pytest.mark.slow
def test_prepared_cases_are_predicted_only_where_the_folds_are_the_same(job: Job, work: Path, tmp_path: Path) -> None:
    folds = own(work)
    predict = ("job=predict", f"job.runs=[{work}/phantom/imported/theirs]", "inference=nnunet_regions")
    results, _ = trained(tmp_path / "nnunet", work, REGIONS, {0: folds[0], 1: folds[2], 2: folds[1]})
    job(*IMPORT, f"job.source={results}")
    with pytest.raises(DataError, match=r"fold=1.* was imported with other held-out cases than those of this fold"):
        job(*predict, "job.output=x")
    assert [imported(work, k).identity()["data.fold_seed"] for k in range(3)] == [12345, None, None]  # type: ignore[index]
    one = ("job=predict", f"job.runs=['{imported(work).path}']", "inference=nnunet_regions")
    job(*one, "job.output=y", f"job.cases=[{folds[0][0]}]")
    assert (work / f"phantom/predictions/y/{folds[0][0]}.nii.gz").exists()
    with pytest.raises(ConfigError, match=r"RegionsInOrder needs probabilities in full precision"):
        job(*one, "job.output=z", "job.reuse=y")
    file = work / "phantom/prepared/folds.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"validation": [folds[1], folds[0], folds[2]]}))
    job("job=prepare")
    with pytest.raises(DataError, match=r"fold=0.* was imported with other held-out cases than those of this fold"):
        job(*one, "job.output=v", f"job.cases=[{folds[1][0]}]")


@pytest.mark.slow
def test_networks_that_predict_otherwise_than_nnunet_are_refused(
    job: Job, work: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    case_id = own(work)[0][0]
    results, _ = trained(tmp_path / "nnunet", work, REGIONS, {0: [case_id]})
    checked = [option for option in IMPORT if option != "job.check=false"]
    with pytest.raises(ConfigError, match=rf"% of the labeled voxels of {case_id} are equal to .* are not imported"):
        job(*checked, f"job.source={results}")  # its files are the references
    assert not imported(work).path.exists()
    job(*IMPORT, f"job.source={results}")
    file = results / f"fold_0/validation/{case_id}.nii.gz"
    raw = sorted((work / "phantom/raw" / case_id).glob("*.nii.gz"))
    predicted = load_predictor(imported(work).path, "cpu")([f for f in raw if "seg" not in f.name])
    values = scheme_named("msd").decode(BRATS2021.encode(predicted.labels))
    nib.save(nib.Nifti1Image(values, predicted.affine), file)
    capsys.readouterr()
    job(*checked, f"job.source={results}")
    assert f"100.000 % of the voxels of {case_id} are equal" in capsys.readouterr().out


def test_checkpoints_of_something_else_are_refused(job: Job, work: Path, tmp_path: Path) -> None:
    results, _ = trained(tmp_path / "nnunet", work, REGIONS, {0: own(work)[0]})
    file = results / "fold_0/checkpoint_final.pth"
    good = torch.load(file, weights_only=False)

    def refused(content: Any, sentence: str, kind: type[Exception] = DataError) -> None:
        torch.save(content, file)
        with pytest.raises(kind, match=sentence):
            job(*IMPORT, f"job.source={results}")

    refused(good | {"trainer_name": "Other"}, r"is of trainer Other, but its folder of nnUNetTrainer")
    refused(good | {"init_args": good["init_args"] | {"fold": 1}}, r"is of fold 1, but its folder of 0")
    refused(good | {"harm": Path("x")}, r"classes other than tensors and numbers")
    refused({"model": {}}, r"contains no network_weights")
    more = good["network_weights"] | {"decoder.gate.weight": torch.zeros(1)}
    refused(good | {"network_weights": more}, r"decoder\.gate\.weight .*nnUNetTrainer may have changed it", ConfigError)
    file.write_bytes(b"no checkpoint")
    with pytest.raises(DataError, match=r"is damaged or no checkpoint of nnU-Net v2"):
        job(*IMPORT, f"job.source={results}")
    file.unlink()
    with pytest.raises(DataError, match=r"does not exist; train this fold to its end"):
        job(*IMPORT, f"job.source={results}")


def test_the_best_weights_are_those_of_their_own_file(job: Job, work: Path, tmp_path: Path) -> None:
    results, model = trained(tmp_path / "nnunet", work, REGIONS, {0: own(work)[0]})
    content = torch.load(results / "fold_0/checkpoint_final.pth", weights_only=False)
    name = "decoder.seg_layers.1.bias"
    best = model.state_dict()[name] + 1
    content["network_weights"] = content["network_weights"] | {name: best}
    torch.save(content, results / "fold_0/checkpoint_best.pth")
    job(*IMPORT, f"job.source={results}", "job.weights=best")
    weights = torch.load(imported(work).best_checkpoints()[0], weights_only=True)["model"]
    torch.testing.assert_close(weights["heads.0.bias"], best)


def test_channels_are_those_that_nnunet_declares(job: Job, work: Path, tmp_path: Path) -> None:
    results, _ = trained(tmp_path / "nnunet", work, REGIONS, {0: own(work)[0]})
    declared = json.loads((results / "dataset.json").read_text())
    declared["channel_names"] = {"0": "T2", "1": "T1", "2": "T1ce", "3": "FLAIR"}
    (results / "dataset.json").write_text(json.dumps(declared))
    job(*IMPORT, f"job.source={results}")
    assert imported(work).config()["inputs"]["modalities"] == ["t2", "t1", "t1ce", "flair"]
    declared["channel_names"] = {"0": "CT"}
    (results / "dataset.json").write_text(json.dumps(declared))
    with pytest.raises(
        DataError, match=r"names the volumes .*CT.*, which must be flair, t1, t1ce, t2.*set job\.channels"
    ):
        job(*IMPORT, f"job.source={results}")
    job(*IMPORT, f"job.source={results}", "job.channels=[t2,t1,t1ce,flair]")
    with pytest.raises(ConfigError, match=r"job\.channels=\['t1'\] must name each of flair, t1, t1ce, t2 once"):
        job(*IMPORT, f"job.source={results}", "job.channels=[t1]")
    plans = json.loads((results / "plans.json").read_text())
    plans["configurations"]["3d_fullres"]["use_mask_for_norm"] = [True] * 3
    (results / "plans.json").write_text(json.dumps(plans))
    with pytest.raises(DataError, match=r"plans\.json normalizes 3 channels, not 4"):
        job(*IMPORT, f"job.source={results}", "job.channels=[t2,t1,t1ce,flair]")


def test_cases_that_nnunet_would_change_are_refused(work: Path) -> None:
    store = CaseStore(work / "phantom/prepared")
    record = store.record(store.case_ids[0])
    case = PreparedCase(record, store.read_images(store.case_ids[0]), None, store.modalities)
    inputs = NnunetInput(store.modalities, [True] * 4, [1, 1, 1], True)
    volume = torch.arange(24.0).reshape(1, 1, 2, 3, 4)

    def first_half(x: torch.Tensor) -> torch.Tensor:
        return x * torch.linspace(1, 2, x.shape[2]).view(-1, 1, 1)

    flipped = as_nnunet(first_half, case, inputs)(volume)  # the phantom's files are LPS
    assert torch.equal(flipped, first_half(volume.flip(2, 3)).flip(2, 3))
    ras = NnunetInput(store.modalities, [True] * 4, [1, 1, 1], False)
    assert torch.equal(as_nnunet(first_half, case, ras)(volume), first_half(volume))

    turned = np.asarray(record.grid.affine)[:, [1, 0, 2, 3]]
    other_axes = replace(record, grid=replace(record.grid, affine=tuple(map(tuple, turned.tolist()))))
    for changed, sentence in (
        (replace(case, backgrounds=(0.0, -5.0)), "has a background of -5"),
        (replace(case, record=replace(record, resampled_mm=(1.0, 1.0, 1.0))), r"was resampled by data\.spacing"),
        (replace(case, modalities=("flair", "t1")), "has the modalities flair, t1, but nnU-Net crops"),
        (replace(case, record=other_axes), "do not run along X, Y and Z in this order"),
    ):
        with pytest.raises(DataError, match=sentence):
            as_nnunet(first_half, changed, inputs)
    with pytest.raises(DataError, match=r"has voxels of 1×1×1 mm, which nnU-Net resamples to 1×1×2 mm"):
        as_nnunet(first_half, case, NnunetInput(store.modalities, [True] * 4, [1, 1, 2], True))
