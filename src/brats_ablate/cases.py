"""Data types shared by all packages: cases, bounding boxes, patches, batches."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch

Shape3d = tuple[int, int, int]
SampleKey = tuple[int, int, int]
"""(seed, epoch, index): all randomness of a training sample derives from these."""


@dataclass(frozen=True)
class BBox:
    """A half-open box of voxels: start (inclusive) and stop (exclusive) per axis."""

    start: Shape3d
    stop: Shape3d

    @property
    def shape(self) -> Shape3d:
        """Voxels per axis."""
        a, b = self.start, self.stop
        return (b[0] - a[0], b[1] - a[1], b[2] - a[2])

    @property
    def slices(self) -> tuple[slice, slice, slice]:
        """The index of the box in an array."""
        a, b = self.start, self.stop
        return (slice(a[0], b[0]), slice(a[1], b[1]), slice(a[2], b[2]))


@dataclass(frozen=True)
class RawCase:
    """The files of one case; nothing is read yet.

    `images` maps each modality of `labels.MODALITIES` to its file and, for files that hold several volumes (MSD's
    4-D), the index of the volume; the index is None for a 3-D file.
    """

    case_id: str
    patient_id: str
    images: Mapping[str, tuple[Path, int | None]]
    segmentation: Path | None


@dataclass(frozen=True)
class ImageGeometry:
    """The voxel grid of a case's original files."""

    shape: Shape3d
    affine: tuple[tuple[float, ...], ...]
    """4 × 4, voxel index to mm, as in the file (RAS+ world)."""

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Voxel edge lengths in mm along the file's own axes."""
        matrix = np.asarray(self.affine)[:3, :3]
        x, y, z = np.sqrt((matrix**2).sum(axis=0)).tolist()
        return (x, y, z)


@dataclass(frozen=True)
class Component:
    """One 26-connected component of one tissue, in cropped coordinates; the biased crop draws patches around them."""

    tissue: int
    voxels: int
    box: BBox
    samples: tuple[Shape3d, ...]
    """A few of its voxels, for components that are larger than a patch."""


@dataclass(frozen=True)
class CaseMetadata:
    """Metadata of a prepared case: what normalization, patch sampling and the way back to the original grid need."""

    case_id: str
    patient_id: str
    grid: ImageGeometry
    """The voxel grid of the original files."""
    box: BBox
    """The stored region: voxels of the RAS+-oriented full grid."""
    mean: tuple[float, ...]
    """Per modality, over that modality's non-zero voxels."""
    std: tuple[float, ...]
    has_labels: bool
    blobs: tuple[Component, ...] = field(default=(), repr=False)
    content: str = ""
    """sha256 of the stored voxels, labels and geometry."""


@dataclass(frozen=True)
class Patch:
    """One training sample as read from the store: raw values, not yet normalized."""

    images: np.ndarray
    """(4, X, Y, Z), the store's type (int16 or float32), 0 outside the brain."""
    labels: np.ndarray
    """(X, Y, Z) uint8 nested labels."""
    mean: tuple[float, ...]
    std: tuple[float, ...]
    case_id: str
    sample_key: SampleKey


@dataclass
class Batch:
    """Normalized samples on the training device, which the transforms augment."""

    images: torch.Tensor
    """(B, 4, X, Y, Z) float32, z-scored inside the brain, 0 outside."""
    foreground: torch.Tensor
    """(B, 1, X, Y, Z) bool, the mask that the option `inputs=onehot` appends as a channel."""
    labels: torch.Tensor
    """(B, X, Y, Z) uint8 nested labels."""
    sample_keys: list[SampleKey]
