"""The paper's augmentations 2 to 7 in MONAI's dictionary transforms, from a memory-mapped, normalized float32 case.

Memory mapping is the fastest way to read in MONAI: no decompression, and only the pages of the patch are loaded, at 52 MiB
of disk per case. MONAI has no cubic interpolation in 3-D, so its zoom is trilinear. It has no contrast that multiplies and
clips, so that transform is written here with two tensor operations.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from brats_ablate.data.loader import read_window
from brats_ablate.transforms.crop import BiasedCrop
from dataset import Dataset


class MonaiPatches:
    """Patches of the cases of `dataset`, cropped by our sampler."""

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset
        self.folder = dataset.options.work / f"npy_{dataset.store.fingerprint[:12]}"
        self.sampler = BiasedCrop([dataset.options.patch] * 3, 0.4)
        self.transforms = paper_transforms()
        self.index = 0
        for case_id in dataset.case_ids:
            _write_normalized(dataset, case_id, self.folder)

    def next(self) -> dict[str, Any]:
        """Return one augmented patch."""
        self.index += 1
        case_id = self.dataset.case_ids[self.index % len(self.dataset.case_ids)]
        record = self.dataset.store.record(case_id)
        window = self.sampler.sample_bbox(record, record.box.shape, (0, 0, self.index))
        images, labels = read_window(_Mapped(self.folder), record, window)  # type: ignore[arg-type]
        patch: dict[str, Any] = self.transforms({"image": np.array(images), "label": np.array(labels)[None]})
        return patch


class _Mapped:
    """Whole normalized cases as memory-mapped files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def read_images(self, case_id: str, box: Any) -> np.ndarray:
        return np.load(self.folder / f"{case_id}.npy", mmap_mode="r")[(slice(None), *box.slices)]

    def read_labels(self, case_id: str, box: Any) -> np.ndarray:
        return np.load(self.folder / f"{case_id}_labels.npy", mmap_mode="r")[box.slices]


def _write_normalized(dataset: Dataset, case_id: str, folder: Path) -> None:
    import torch

    from brats_ablate.transforms.normalize import normalize

    if (folder / f"{case_id}_labels.npy").exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    record = dataset.store.record(case_id)
    images = normalize(torch.from_numpy(dataset.store.read_images(case_id)), record.mean, record.std)
    np.save(folder / f"{case_id}.npy", images.numpy())
    np.save(folder / f"{case_id}_labels.npy", dataset.store.read_labels(case_id))


def paper_transforms() -> Any:
    """Build MONAI's transforms with the probabilities and ranges of the paper."""
    from monai import transforms as mt

    both = ["image", "label"]
    return mt.Compose(
        [
            mt.RandZoomd(both, prob=0.15, min_zoom=1.0, max_zoom=1.4, mode=("trilinear", "nearest")),
            *(mt.RandFlipd(both, prob=0.5, spatial_axis=axis) for axis in range(3)),
            mt.RandGaussianNoised("image", prob=0.15, mean=0.0, std=0.33),
            mt.RandGaussianSmoothd(
                "image", prob=0.15, sigma_x=(0.5, 1.5), sigma_y=(0.5, 1.5), sigma_z=(0.5, 1.5), approx="sampled"
            ),
            mt.RandScaleIntensityd("image", factors=0.3, prob=0.15),
            mt.RandLambdad("image", prob=0.15, func=_contrast),
        ]
    )


def _contrast(image: Any) -> Any:
    flat = image.flatten(1)
    low, high = (flat.amin(1), flat.amax(1))
    shape = (-1, 1, 1, 1)
    return (image * np.random.uniform(0.65, 1.5)).clamp(low.view(shape), high.view(shape))
