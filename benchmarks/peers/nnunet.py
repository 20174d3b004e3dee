"""nnU-Net v2 as its commands run it: raw folder, fingerprint, plan, preprocessing, loader and predictor.

Only the augmentation is different: the operations and ranges of the paper in the transforms of batchgeneratorsv2. They draw
from the same distributions but interpolate linearly in the zoom.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from brats_ablate.cases import RawCase
from brats_ablate.data import nifti
from dataset import LABELS, Dataset

DATASET = "Dataset001_BraTS"
_FILES = (".b2nd", "_seg.b2nd", ".pkl")
"""File endings of a preprocessed case."""
_REGIONS = {"background": 0, "whole tumor": [1, 2, 3], "tumor core": [2, 3], "enhancing tumor": [3]}


class NnUNet:
    """nnU-Net's folders for the cases of `dataset`, filled on first use."""

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset
        kind = "real" if dataset.options.cases else "synthetic"
        self.folder = (dataset.options.work / f"nnunet_{kind}_{len(dataset.raw)}_{dataset.options.patch}").resolve()
        for name in ("raw", "preprocessed", "results"):
            os.environ[f"nnUNet_{name}"] = str(self.folder / name)
            (self.folder / name).mkdir(parents=True, exist_ok=True)

    @cached_property
    def plans(self) -> Any:
        """The plan of nnU-Net for these cases (`nnUNetv2_plan_and_preprocess` without preprocessing)."""
        from nnunetv2.experiment_planning.plan_and_preprocess_api import extract_fingerprints, plan_experiments
        from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

        file = self.folder / "preprocessed" / DATASET / "nnUNetPlans.json"
        if not file.exists():
            self._write_raw()
            with _silence():
                extract_fingerprints([1], num_processes=1, show_progress_bar=False)
                plan_experiments([1])
        return PlansManager(str(file))

    @property
    def configuration(self) -> Any:
        """The 3d_fullres configuration."""
        return self.plans.get_configuration("3d_fullres")

    @property
    def dataset_json(self) -> dict[str, Any]:
        """Channels and labels in the format of nnU-Net."""
        return {
            "channel_names": {str(i): name for i, name in enumerate(self.dataset.raw[0].images)},
            "labels": _REGIONS,
            "regions_class_order": [1, 2, 3],
            "numTraining": len(self.dataset.raw),
            "file_ending": ".nii.gz",
        }

    def preprocess(self, case: RawCase) -> Path:
        """Preprocess one case as the workers of nnU-Net do and return the path without ending."""
        from nnunetv2.preprocessing.preprocessors.default_preprocessor import DefaultPreprocessor

        plans = self.plans
        target = self.folder / "preprocessed" / DATASET / "nnUNetPlans_3d_fullres" / case.case_id
        target.parent.mkdir(exist_ok=True)
        for end in _FILES:
            Path(f"{target}{end}").unlink(missing_ok=True)  # blosc2 refuses to overwrite
        raw = self.folder / "raw" / DATASET
        images = [str(raw / "imagesTr" / f"{case.case_id}_{i:04d}.nii.gz") for i in range(len(case.images))]
        labels = str(raw / "labelsTr" / f"{case.case_id}.nii.gz")
        DefaultPreprocessor(verbose=False).run_case_save(
            str(target), images, labels, plans, self.configuration, self.dataset_json
        )
        return target

    def mebibytes(self, case: RawCase) -> float:
        """Return the size of one preprocessed case on disk."""
        folder = self.folder / "preprocessed" / DATASET / "nnUNetPlans_3d_fullres"
        files = (folder / f"{case.case_id}{end}" for end in _FILES)
        return sum(file.stat().st_size for file in files) / 2**20

    @cached_property
    def preprocessed(self) -> Any:
        """nnU-Net's dataset object of the preprocessed cases."""
        from nnunetv2.training.dataloading.nnunet_dataset import nnUNetDatasetBlosc2

        folder = self.folder / "preprocessed" / DATASET / "nnUNetPlans_3d_fullres"
        for case in self.dataset.raw:
            if not (folder / f"{case.case_id}.b2nd").exists():
                self.preprocess(case)
        return nnUNetDatasetBlosc2(str(folder), self.dataset.case_ids)

    def patches(self, transforms: Any = None, *, oversample: float = 0.4) -> Iterator[dict[str, Any]]:
        """Return nnU-Net's data loader with batches of one patch."""
        from nnunetv2.training.dataloading.data_loader import nnUNetDataLoader

        shape = (self.dataset.options.patch,) * 3
        loader: Iterator[dict[str, Any]] = nnUNetDataLoader(
            self.preprocessed,
            1,
            shape,
            shape,
            self.plans.get_label_manager(self.dataset_json),
            oversample_foreground_percent=oversample,
            probabilistic_oversampling=True,
            transforms=transforms,
        )
        return loader

    def read_patch(self, case_id: str, start: tuple[int, int, int]) -> tuple[np.ndarray, np.ndarray]:
        """Read the normalized images and labels of one window as the loader of nnU-Net does."""
        from acvl_utils.cropping_and_padding.bounding_boxes import crop_and_pad_nd

        data, seg, _, _ = self.preprocessed.load_case(case_id)
        box = [[s, s + self.dataset.options.patch] for s in start]
        return crop_and_pad_nd(data, box, 0), crop_and_pad_nd(seg, box, -1)

    def predictor(self, network: Any) -> Callable[[Any], Any]:
        """Return nnU-Net's predictor with mirroring, half overlap and Gaussian weights: (C, X, Y, Z) -> logits."""
        import torch
        from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

        with _silence():
            device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
            predictor = nnUNetPredictor(device=device, allow_tqdm=False)
            configuration = self.configuration
            configuration.configuration["patch_size"] = [self.dataset.options.patch] * 3
            predictor.manual_initialization(
                network, self.plans, configuration, None, self.dataset_json, "nnUNetTrainer", (0, 1, 2)
            )
        predict: Callable[[Any], Any] = predictor.predict_sliding_window_return_logits
        return predict

    def _write_raw(self) -> None:
        """Write the cases in the raw layout of nnU-Net: linked images, nested labels (which are consecutive)."""
        raw = self.folder / "raw" / DATASET
        (raw / "imagesTr").mkdir(parents=True, exist_ok=True)
        (raw / "labelsTr").mkdir(exist_ok=True)
        for case in self.dataset.raw:
            for i, (file, _) in enumerate(case.images.values()):
                link = raw / "imagesTr" / f"{case.case_id}_{i:04d}.nii.gz"
                if not link.exists():
                    link.symlink_to(file.resolve())
            assert case.segmentation is not None
            values, affine = nifti.read_volume(case.segmentation)
            nifti.write_labels(raw / "labelsTr" / f"{case.case_id}.nii.gz", LABELS.encode(values), affine)
        (raw / "dataset.json").write_text(json.dumps(self.dataset_json), encoding="utf-8")


def paper_transforms(patch: int) -> Any:
    """Build the paper's augmentations 2 to 7 in batchgeneratorsv2, with one factor for all modalities as in its code."""
    from batchgeneratorsv2.transforms.intensity.brightness import MultiplicativeBrightnessTransform
    from batchgeneratorsv2.transforms.intensity.contrast import ContrastTransform
    from batchgeneratorsv2.transforms.intensity.gaussian_noise import GaussianNoiseTransform
    from batchgeneratorsv2.transforms.noise.gaussian_blur import GaussianBlurTransform
    from batchgeneratorsv2.transforms.spatial.mirroring import MirrorTransform
    from batchgeneratorsv2.transforms.spatial.spatial import SpatialTransform
    from batchgeneratorsv2.transforms.utils.compose import ComposeTransforms
    from batchgeneratorsv2.transforms.utils.random import RandomTransform

    zoom = SpatialTransform(
        (patch,) * 3,
        patch_center_dist_from_border=0,
        random_crop=False,
        p_scaling=0.15,
        scaling=lambda **_: 1 / np.random.uniform(1.0, 1.4),
        p_synchronize_scaling_across_axes=1,
        mode_seg="nearest",
    )
    blur = GaussianBlurTransform((0.5, 1.5), synchronize_channels=True, synchronize_axes=True, benchmark=True)
    intensity = (
        GaussianNoiseTransform((0.0, 0.33), synchronize_channels=True),
        blur,
        MultiplicativeBrightnessTransform((0.7, 1.3), synchronize_channels=True),
        ContrastTransform((0.65, 1.5), preserve_range=True, synchronize_channels=True),
    )
    return ComposeTransforms([zoom, MirrorTransform((0, 1, 2)), *(RandomTransform(t, 0.15) for t in intensity)])


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    with contextlib.redirect_stdout(io.StringIO()):
        yield
