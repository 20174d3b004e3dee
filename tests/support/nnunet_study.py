"""A study of nnU-Net itself on phantoms: `python nnunet_study.py <folder> labels|regions plain|anisotropic [validate]`.

Trains fold 0 for two epochs of two steps, predicts its held-out cases on request, and predicts the training images by
nnU-Net's own predictor to <folder>/predicted. It is a program of its own, as nnU-Net starts processes.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import replace
from pathlib import Path

DATASET, CONFIGURATION, FOLDS, CASES = "Dataset901_Phantom", "3d_fullres", 2, 4
NAME = f"nnUNetTrainer__nnUNetPlans__{CONFIGURATION}"
CHANNELS = {"0": "T1ce", "1": "FLAIR", "2": "T2", "3": "T1"}
"""In another order than here."""
VOLUMES = ("t1ce", "flair", "t2", "t1")
LABELS = {
    "labels": {"background": 0, "edema": 1, "necrosis": 2, "enhancing tumor": 3},
    "regions": {"background": 0, "whole tumor": [1, 2, 3], "tumor core": [2, 3], "enhancing tumor": [3]},
}
PATCH = [16, 24, 32]
"""Along z, y, x; smaller than the brain along z and y."""
STRIDES = {"plain": [[1, 1, 1], [2, 2, 2], [2, 2, 2]], "anisotropic": [[1, 1, 1], [1, 2, 2], [2, 2, 2]]}


def write_raw(folder: Path, kind: str) -> None:
    """Write phantoms in nnU-Net's raw format, with the label values of the Decathlon."""
    from brats_ablate.config.data_options import known_layouts, scheme_named
    from brats_ablate.data.phantom import CASE_ID, PhantomCohort

    layout = replace(known_layouts()["nnunet"], volumes=VOLUMES)
    PhantomCohort(CASES, [44, 36, 28], 3, CASE_ID).write(folder, layout, scheme_named("msd"))
    (folder / "phantom.json").unlink()
    declared = {"channel_names": CHANNELS, "labels": LABELS[kind], "numTraining": CASES, "file_ending": ".nii.gz"}
    order = {"regions_class_order": [1, 2, 3]} if kind == "regions" else {}
    (folder / "dataset.json").write_text(json.dumps(declared | order))


def train(folder: Path, architecture: str, *, validate: bool) -> None:
    """Plan, preprocess and train."""
    import torch
    from nnunetv2.experiment_planning.dataset_fingerprint.fingerprint_extractor import DatasetFingerprintExtractor
    from nnunetv2.experiment_planning.plan_and_preprocess_api import plan_experiments, preprocess
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

    from brats_ablate.data.folds import split

    fingerprint = DatasetFingerprintExtractor(901, 1)
    fingerprint.num_foreground_voxels_for_intensitystats = 10_000
    fingerprint.run()
    plan_experiments([901])
    preprocessed = folder / "preprocessed" / DATASET
    plans = json.loads((preprocessed / "nnUNetPlans.json").read_text())
    chosen = plans["configurations"][CONFIGURATION]
    chosen["patch_size"], chosen["batch_size"] = PATCH, 2
    sizes = {"n_stages": 3, "features_per_stage": [8, 16, 24], "strides": STRIDES[architecture]}
    convolutions = {"kernel_sizes": [[3, 3, 3]] * 3, "n_conv_per_stage": [2] * 3, "n_conv_per_stage_decoder": [2] * 2}
    chosen["architecture"]["arch_kwargs"] |= sizes | convolutions
    (preprocessed / "nnUNetPlans.json").write_text(json.dumps(plans))
    preprocess([901], configurations=[CONFIGURATION], num_processes=[1])
    cases = sorted(p.name.removesuffix(".nii.gz") for p in (folder / "raw" / DATASET / "labelsTr").glob("*.nii.gz"))
    held_out = split(cases, {c: c for c in cases}, FOLDS)
    splits = [{"train": [c for c in cases if c not in own], "val": own} for own in held_out]
    (preprocessed / "splits_final.json").write_text(json.dumps(splits))
    declared = json.loads((preprocessed / "dataset.json").read_text())
    os.environ.update(nnUNet_n_proc_DA="0")  # augmentation in this process
    trainer = nnUNetTrainer(plans | {"continue_training": False}, CONFIGURATION, 0, declared, torch.device("cpu"))
    trainer.num_epochs, trainer.num_iterations_per_epoch, trainer.num_val_iterations_per_epoch = 2, 2, 1
    trainer.run_training()
    if validate:
        trainer.perform_actual_validation()


def predict(folder: Path) -> None:
    """Predict the training images by nnU-Net."""
    import torch
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    predictor = nnUNetPredictor(device=torch.device("cpu"), allow_tqdm=False)
    predictor.initialize_from_trained_model_folder(str(folder / "results" / DATASET / NAME), (0,))
    (folder / "predicted").mkdir()
    predictor.predict_from_files_sequential(str(folder / "raw" / DATASET / "imagesTr"), str(folder / "predicted"))


def main(folder: Path, kind: str, architecture: str, *options: str) -> None:
    """Do all of it."""
    os.environ.update({f"nnUNet_{name}": str(folder / name) for name in ("raw", "preprocessed", "results")})
    os.environ.update(nnUNet_compile="f", nnUNet_n_proc_DA="1", nnUNet_def_n_proc="1")
    write_raw(folder / "raw" / DATASET, kind)
    train(folder, architecture, validate="validate" in options)
    predict(folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
