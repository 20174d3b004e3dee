"""The paper's augmentations 2 to 7 in MONAI's dictionary transforms, from a memory-mapped, normalised float32 case.

The fastest reading MONAI offers: no decompression, only the patch's pages are touched, at 52 MiB of disk a case. MONAI
has no cubic interpolation in 3-D; its zoom is trilinear. It has no contrast that multiplies and clips; that one is
written here in two tensor operations.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from brats_ablate.data.loader import read_window
from brats_ablate.transforms.crop import BiasedCrop
from material import Material


class MonaiPatches:
    """Patches of the cases of `material`, cropped where our own sampler crops."""

    def __init__(self, material: Material) -> None:
        self.material = material
        self.folder = material.options.work / f"npy_{material.store.fingerprint[:12]}"
        self.sampler = BiasedCrop([material.options.patch] * 3, 0.4)
        self.transforms = paper_transforms()
        self.index = 0
        for case_id in material.case_ids:
            _write_normalised(material, case_id, self.folder)

    def next(self) -> dict[str, Any]:
        """One augmented patch."""
        self.index += 1
        case_id = self.material.case_ids[self.index % len(self.material.case_ids)]
        record = self.material.store.record(case_id)
        window = self.sampler.window(record, record.box.shape, (0, 0, self.index))
        images, labels = read_window(_Mapped(self.folder), record, window)  # type: ignore[arg-type]
        found: dict[str, Any] = self.transforms({"image": np.array(images), "label": np.array(labels)[None]})
        return found


class _Mapped:
    """Whole normalised cases as files in memory."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def read_images(self, case_id: str, box: Any) -> np.ndarray:
        return np.load(self.folder / f"{case_id}.npy", mmap_mode="r")[(slice(None), *box.slices)]

    def read_labels(self, case_id: str, box: Any) -> np.ndarray:
        return np.load(self.folder / f"{case_id}_labels.npy", mmap_mode="r")[box.slices]


def _write_normalised(material: Material, case_id: str, folder: Path) -> None:
    import torch

    from brats_ablate.transforms.normalize import normalize

    if (folder / f"{case_id}_labels.npy").exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    record = material.store.record(case_id)
    images = normalize(torch.from_numpy(material.store.read_images(case_id)), record.mean, record.std)
    np.save(folder / f"{case_id}.npy", images.numpy())
    np.save(folder / f"{case_id}_labels.npy", material.store.read_labels(case_id))


def paper_transforms() -> Any:
    """MONAI's chain; draws and ranges are the paper's."""
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
