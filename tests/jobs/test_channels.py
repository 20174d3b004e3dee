"""Data sets and networks of any number of channels, through all jobs from prepare to predict."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from omegaconf import DictConfig

from brats_ablate.data.loader import PatchLoader
from brats_ablate.data.store import CaseStore
from brats_ablate.errors import DataError
from brats_ablate.inference.prediction_store import PredictionFolder
from brats_ablate.jobs.build import build_model, input_channels, input_modalities, instantiate, open_training_store
from brats_ablate.jobs.describe import describe
from brats_ablate.launch.sweep import run_directory
from brats_ablate.transforms.pipeline import BatchPipeline

Job = Callable[..., None]
Composed = Callable[..., DictConfig]
NO_TTA = "inference=sliding_window_without_tta"
SHORT = ("trainer.epochs=1", "name=few", "trainer.progress=none")


def only(*kept: str) -> list[str]:
    """Overrides that leave a data set these modalities of BraTS's four."""
    return [f"~data.layout.modalities.{m}" for m in ("flair", "t1", "t1ce", "t2") if m not in kept]


def first_conv(model: torch.nn.Module) -> torch.nn.Conv3d:
    return next(module for module in model.modules() if isinstance(module, torch.nn.Conv3d))


@pytest.mark.parametrize(("inputs", "more"), [("plain", 0), ("onehot", 1), ("onehot_as_released", 1)])
@pytest.mark.parametrize(
    "modalities", [("t1ce",), ("t2", "flair"), ("t1ce", "t2", "flair"), ("flair", "t1", "t1ce", "t2", "adc")]
)
def test_the_network_has_a_channel_for_each_modality(
    composed: Composed, modalities: tuple[str, ...], inputs: str, more: int
) -> None:
    added = ["+data.layout.modalities.adc=[adc]"] if "adc" in modalities else []
    cfg = composed(*added, f"inputs={inputs}", f"inputs.modalities=[{','.join(modalities)}]")
    assert input_modalities(cfg) == modalities
    assert input_channels(cfg) == first_conv(build_model(cfg)).in_channels == len(modalities) + more


@pytest.mark.parametrize(("overrides", "channels"), [(only("t1ce"), 1), (["+data.layout.modalities.adc=[adc]"], 5)])
def test_without_a_choice_the_channels_are_those_of_the_data_set(
    composed: Composed, overrides: list[str], channels: int
) -> None:
    cfg = composed(*overrides)
    assert first_conv(build_model(cfg)).in_channels == channels
    assert f"input  {channels} × 16³" in describe(cfg, None, shared_overrides=False).diagram


@pytest.mark.slow
@pytest.mark.parametrize("augment", ["paper", "paper_drop_modality", "as_released"])
@pytest.mark.parametrize("chosen", [["t1ce"], ["t2", "flair"]])
def test_patches_of_chosen_channels_reach_the_network(composed: Composed, chosen: list[str], augment: str) -> None:
    cfg = composed("inputs=onehot", f"inputs.modalities=[{','.join(chosen)}]", f"augment={augment}")
    store = open_training_store(cfg)
    settings = {"seed": 0, "batch_size": 2, "crops_per_case": 1, "rank": 0, "world_size": 1, "threads": 0}
    loader = PatchLoader(store, store.case_ids, instantiate(cfg.patches), **settings)
    patches = next(iter(loader.epoch(1)))
    full = PatchLoader(CaseStore(store.folder), store.case_ids, instantiate(cfg.patches), **settings)
    rows = [("flair", "t1", "t1ce", "t2").index(m) for m in chosen]
    for own, whole in zip(patches, next(iter(full.epoch(1))), strict=True):
        np.testing.assert_array_equal(own.images, whole.images[rows])
        np.testing.assert_array_equal(own.labels, whole.labels)
        assert own.mean == tuple(whole.mean[r] for r in rows)
    pipeline = BatchPipeline(instantiate(cfg.augment), instantiate(cfg.inputs), torch.device("cpu"))
    images, _ = pipeline(patches)
    assert images.shape == (2, len(chosen) + 1, 16, 16, 16)
    assert build_model(cfg)(images).logits[0].shape == (2, 3, 16, 16, 16)


@pytest.mark.slow
@pytest.mark.parametrize("chosen", ["[t1ce]", "[t2,flair]"])
def test_training_and_prediction_on_chosen_channels(job: Job, composed: Composed, work: Path, chosen: str) -> None:
    inputs = ["inputs=onehot", f"inputs.modalities={chosen}", "fold=0"]
    job(*SHORT, *inputs)
    run = run_directory(composed(*SHORT, *inputs))
    assert run.is_finished()
    assert all(0 <= row["dice"] <= 1 for row in run.metrics())
    case_id = CaseStore(work / "phantom" / "prepared").folds[0][0]
    for output, source in (("kept", []), ("raw", [f"job.source={work / 'phantom' / 'raw'}"])):
        select = [f"job.cases=[{case_id}]", "job.probabilities=true", f"job.output={output}", NO_TTA]
        job(*SHORT, "job=predict", *select, *source)
    kept, raw = (
        PredictionFolder(work / "phantom" / "predictions" / o).read_probabilities(case_id) for o in ("kept", "raw")
    )
    np.testing.assert_array_equal(kept[0], raw[0])


@pytest.mark.slow
@pytest.mark.parametrize("modalities", [("t1ce",), ("t2", "t1")])
def test_a_data_set_of_few_channels_from_raw_files_to_labels_and_pictures(
    job: Job, work: Path, tmp_path: Path, modalities: tuple[str, ...]
) -> None:
    prepared = tmp_path / "few"
    data = [*only(*modalities), f"paths.prepared={prepared}"]
    raw = work / "phantom" / "raw"
    job("job=prepare", *data, "data.phantom=null", f"data.raw={raw}", "job.workers=1")
    store = CaseStore(prepared)
    assert set(store.modalities) == set(modalities)
    case_id = store.folds[0][0]
    assert len(store.read_images(case_id)) == len(store.record(case_id).mean) == len(modalities)
    job(*SHORT, *data, "fold=0")
    job(*SHORT, *data, "job=predict", f"job.cases=[{case_id}]", "job.output=few", NO_TTA)
    job(*data, "job=pictures", "job.predictions=few", f"job.cases=[{case_id}]")
    folder = work / "phantom" / "predictions" / "few"
    assert (folder / "pictures" / f"{case_id}.png").is_file()
    original = nib.load(raw / case_id / f"{case_id}_t1.nii.gz")
    assert nib.load(folder / f"{case_id}.nii.gz").shape == original.shape


def test_a_store_of_other_channels_than_the_data_option_says_is_refused(composed: Composed) -> None:
    with pytest.raises(
        DataError,
        match=r"prepared with the modalities flair, t1, t1ce, t2, but data\.layout\.modalities declares t1, t1ce; choose",
    ):
        open_training_store(composed(*only("t1", "t1ce")))
    with pytest.raises(DataError, match=r"contains no adc; choose from flair, t1, t1ce, t2"):
        open_training_store(composed("+data.layout.modalities.adc=[adc]", "inputs.modalities=[adc]"))
