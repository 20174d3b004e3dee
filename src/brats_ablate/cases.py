"""Data types shared by all packages: cases, boxes, patches, batches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import torch

Shape3d = tuple[int, int, int]
CROSS_VALIDATED = "prepared, each case by the models that did not train on it"
"""Where the cases of out-of-fold predictions are from, in the manifest of a folder of predictions.

Prepared cases of no fold are predicted by every model.
"""
SampleKey = tuple[int, int, int]
"""(seed, epoch, index): all randomness of a training sample derives from these."""


def shape3d(values: Sequence[int] | np.ndarray) -> Shape3d:
    """Return three integers of any kind as a tuple of Python integers."""
    x, y, z = (int(v) for v in values)
    return (x, y, z)


@dataclass(frozen=True)
class BBox:
    """A box of voxels: start (inclusive) and stop (exclusive) per axis."""

    start: Shape3d
    stop: Shape3d

    @classmethod
    def around(cls, mask: np.ndarray) -> BBox | None:
        """Return the smallest box that contains every non-zero voxel of an (X, Y, Z) array; None if there is none."""
        order = np.argsort([-abs(stride) for stride in mask.strides], kind="stable")
        by_memory = mask.transpose(order)  # contiguous axis last, several times as fast to reduce
        first = np.flatnonzero(by_memory.any(axis=(1, 2)))
        if first.size == 0:
            return None
        slab = np.any(by_memory[first[0] : first[-1] + 1], axis=0)
        ranges = [first, np.flatnonzero(slab.any(axis=1)), np.flatnonzero(slab.any(axis=0))]
        x, y, z = (ranges[i] for i in np.argsort(order))
        return cls(shape3d((x[0], y[0], z[0])), shape3d((x[-1] + 1, y[-1] + 1, z[-1] + 1)))

    @property
    def shape(self) -> Shape3d:
        """Voxels along each axis."""
        x, y, z = (stop - start for start, stop in zip(self.start, self.stop, strict=True))
        return (x, y, z)

    @property
    def slices(self) -> tuple[slice, slice, slice]:
        """The index of the box in a volume."""
        x, y, z = map(slice, self.start, self.stop)
        return (x, y, z)


@dataclass(frozen=True)
class RawCase:
    """One case as found on disk, not read yet.

    `images` maps each modality, in channel order, to its file and the index of its volume. The index is None for a 3-D
    file; MSD files are 4-D.
    """

    case_id: str
    patient_id: str
    images: Mapping[str, tuple[Path, int | None]]
    segmentation: Path | None
    unrecognized: tuple[str, ...] = ()
    """Names of the other NIfTI files in its folder that the layout does not know."""


@dataclass(frozen=True)
class NiftiPosition:
    """The fields of a NIfTI header that place its voxels, except the sform: repeated in files on the same grid."""

    qform_code: int
    sform_code: int
    units: int
    """NIfTI's code of the unit of length; 0 is unknown, 2 is mm."""
    pixdim: tuple[float, ...]
    """Handedness of the qform (±1), then the voxel's edges, in that unit."""
    quaternion: tuple[float, ...]
    """b, c, d of the qform."""
    offset: tuple[float, ...]
    """Origin of the qform, in that unit."""


@dataclass(frozen=True)
class ImageGeometry:
    """Shape and position of the voxels in a case's original files."""

    shape: Shape3d
    affine: tuple[tuple[float, ...], ...]
    """4 × 4, voxel index to mm, as in the file (RAS+ world)."""
    position: NiftiPosition | None = None
    """What else the header says; None in stores of earlier versions, which did not record it."""

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Voxel edge lengths in mm along the file's own axes."""
        matrix = np.asarray(self.affine)[:3, :3]
        x, y, z = np.sqrt((matrix**2).sum(axis=0)).tolist()
        return (x, y, z)


@dataclass(frozen=True)
class Component:
    """One 26-connected component of one tissue, in cropped coordinates. Patches are drawn around components."""

    tissue: int
    voxels: int
    box: BBox
    samples: tuple[Shape3d, ...]
    """A few of its voxels, for components that are larger than a patch."""


@dataclass(frozen=True)
class CaseMetadata:
    """Everything about a preprocessed case except its voxels.

    Enough to normalize it, to crop patches, and to return a result to the original grid.
    """

    case_id: str
    patient_id: str
    grid: ImageGeometry
    """Geometry of the original files."""
    box: BBox
    """The stored region: voxels of the RAS+-oriented full grid, which has other voxels than `grid` if resampled."""
    mean: tuple[float, ...]
    """Per modality, over that modality's non-zero voxels."""
    std: tuple[float, ...]
    """As `mean`; 0 for a modality that the case lacks."""
    has_labels: bool
    components: tuple[Component, ...] = field(default=(), repr=False)
    content_hash: str = ""
    """sha256 of the stored voxels, labels and geometry."""
    resampled_mm: tuple[float, ...] | None = None
    """Voxel edges of the stored region along the RAS+ axes if it was resampled; None if its voxels are the files'."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON; components as rows [tissue, voxels, start, stop, samples] to save space."""
        plain = asdict(self)
        del plain["components"], plain["content_hash"]
        for holder, key in ((plain, "resampled_mm"), (plain["grid"], "position")):
            if holder[key] is None:
                del holder[key]
        rows = [[c.tissue, c.voxels, c.box.start, c.box.stop, c.samples] for c in self.components]
        return plain | {"blobs": rows, "content": self.content_hash}

    @classmethod
    def from_dict(cls, plain: dict[str, Any]) -> CaseMetadata:
        """Return the metadata that `to_dict` wrote."""
        grid, box, resampled = plain["grid"], plain["box"], plain.get("resampled_mm")
        position = grid.get("position")
        if position is not None:
            lists = {key: tuple(position[key]) for key in ("pixdim", "quaternion", "offset")}
            position = NiftiPosition(**{**position, **lists})
        return cls(
            case_id=plain["case_id"],
            patient_id=plain["patient_id"],
            grid=ImageGeometry(shape3d(grid["shape"]), tuple(tuple(row) for row in grid["affine"]), position),
            box=BBox(shape3d(box["start"]), shape3d(box["stop"])),
            mean=tuple(plain["mean"]),
            std=tuple(plain["std"]),
            has_labels=plain["has_labels"],
            components=tuple(
                Component(tissue, voxels, BBox(shape3d(start), shape3d(stop)), tuple(shape3d(s) for s in samples))
                for tissue, voxels, start, stop, samples in plain["blobs"]
            ),
            content_hash=plain["content"],
            resampled_mm=None if resampled is None else tuple(resampled),
        )


@dataclass(frozen=True)
class Patch:
    """One training sample as read from the store: raw values, not yet normalized."""

    images: np.ndarray
    """(M, X, Y, Z) of M modalities, the store's type (int16 or float32), 0 outside the brain."""
    labels: np.ndarray
    """(X, Y, Z) uint8 nested label map."""
    mean: tuple[float, ...]
    std: tuple[float, ...]
    case_id: str
    sample_key: SampleKey


@dataclass
class Batch:
    """Samples on the training device, normalized; what augmentation transforms."""

    images: torch.Tensor
    """(B, M, X, Y, Z) float32 of M modalities, z-scored inside the brain, 0 outside."""
    foreground: torch.Tensor
    """(B, 1, X, Y, Z) bool, the mask that the option `inputs=onehot` appends as a channel."""
    labels: torch.Tensor
    """(B, X, Y, Z) uint8 nested label maps."""
    sample_keys: list[SampleKey]
    dropped: Sequence[tuple[int, ...]] = ()
    """The channels of each sample that `transforms.drop_modality` drew: 0 in the network's input."""
