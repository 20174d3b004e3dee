"""One raw case to one prepared case, in memory: read, check, orient, crop, measure.

`job=prepare` writes the result to the store; `job=predict` on a raw folder uses it as it is.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from brats_ablate import labels
from brats_ablate.cases import BBox, CaseMetadata, ImageGeometry, RawCase, Shape3d
from brats_ablate.data import nifti, validation
from brats_ablate.data.components import connected_components
from brats_ablate.data.orientation import Orientation
from brats_ablate.errors import DataError


@dataclass(frozen=True)
class PreparedCase:
    """A case as the store keeps it."""

    record: CaseMetadata
    images: np.ndarray
    """(4, X, Y, Z) int16 (float32 where the data are not integers), raw values, RAS+, cropped, C-contiguous."""
    labels: np.ndarray | None
    """(X, Y, Z) uint8 nesting depths, or None without a segmentation."""


def read_case(raw: RawCase, convention: str) -> PreparedCase:
    """Read a case whose files are all there (`checks.file_problems`).

    The box holds every voxel that is non-zero in any modality (paper section 2.1) and, what differs, every labelled
    voxel, so that a reference survives the crop whole even where an annotation leaves the brain.

    Args:
        raw: as found by `layouts.find_cases`.
        convention: of the segmentation's values, a key of `labels.CONVENTIONS`.

    Raises:
        DataError: a file is unreadable, or the case is unfit (see `checks`).
    """
    paths = [raw.images[m][0] for m in labels.MODALITIES]
    files = {path: nifti.read_file(path) for path in dict.fromkeys(paths)}
    affine = files[paths[0]][1]
    volumes: list[np.ndarray] = []
    for modality, path in zip(labels.MODALITIES, paths, strict=True):
        array = nifti.select_volume(path, files[path][0], raw.images[modality][1])
        validation.check_grid(path, array, files[path][1], paths[0], (volumes or [array])[0].shape, affine)
        validation.check_values(path, modality, array)
        volumes.append(array)
    try:
        orientation = Orientation.of(affine)
    except ValueError as error:
        raise DataError(f"{paths[0]} has no usable geometry: {error}; correct its header") from error

    depth = None
    if raw.segmentation is not None:
        values, seg_affine = nifti.read_volume(raw.segmentation)
        validation.check_grid(raw.segmentation, values, seg_affine, paths[0], volumes[0].shape, affine)
        depth = orientation.to_ras(validation.depth_of(raw.segmentation, values, convention))
    oriented = [orientation.to_ras(v) for v in volumes]
    box = bounding_box(oriented if depth is None else [*oriented, depth])

    images = _stored([v[box.slices] for v in oriented])
    if depth is not None:
        depth = np.ascontiguousarray(depth[box.slices])
    mean, std = foreground_moments(images)
    grid = ImageGeometry(_shape(volumes[0].shape), tuple(tuple(row) for row in affine.tolist()))
    record = CaseMetadata(
        case_id=raw.case_id,
        patient_id=raw.patient_id,
        grid=grid,
        box=box,
        mean=mean,
        std=std,
        has_labels=depth is not None,
        blobs=() if depth is None else connected_components(depth),
        content=_content(images, depth, box, grid),
    )
    return PreparedCase(record, images, depth)


def bounding_box(volumes: list[np.ndarray]) -> BBox:
    """The smallest box that holds every voxel that is non-zero in any of the (X, Y, Z) volumes; one must be."""
    present = volumes[0] != 0
    for volume in volumes[1:]:
        present |= volume != 0
    across = present.any(axis=2)
    where = [np.flatnonzero(a) for a in (across.any(axis=1), across.any(axis=0), present.any(axis=(0, 1)))]
    return BBox(_shape([int(w[0]) for w in where]), _shape([int(w[-1]) + 1 for w in where]))


def foreground_moments(images: np.ndarray) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and population standard deviation of each modality over its own non-zero voxels.

    In float64 and in two passes: E[x²] − µ² in float32 is off by 3e-3 on a real case.
    """
    mean, std = [], []
    for image in images:
        brain = image[image != 0].astype(np.float64)
        mean.append(float(brain.mean()))
        std.append(float(np.sqrt(np.square(brain - mean[-1]).mean())))
    return tuple(mean), tuple(std)


def _stored(volumes: list[np.ndarray]) -> np.ndarray:
    """One (4, X, Y, Z) array: int16 where that loses nothing, else float32."""
    limits = np.iinfo(np.int16)
    whole = all(v.dtype.kind in "iu" or (v == np.rint(v)).all() for v in volumes)
    if whole and all(v.min() >= limits.min and v.max() <= limits.max for v in volumes):
        return np.stack([v.astype(np.int16, order="C") for v in volumes])
    return np.stack([v.astype(np.float32, order="C") for v in volumes])


def _content(images: np.ndarray, depth: np.ndarray | None, box: BBox, grid: ImageGeometry) -> str:
    """Hash of everything that training and evaluation depend on; float noise of the affine's last digits excluded."""
    digest = hashlib.sha256(images.data)
    if depth is not None:
        digest.update(depth.data)
    affine = np.round(np.asarray(grid.affine), 6) + 0.0
    geometry = [
        str(images.dtype),
        images.shape,
        depth is not None,
        box.start,
        box.stop,
        grid.shape,
        affine.tolist(),
    ]
    digest.update(json.dumps(geometry).encode())
    return digest.hexdigest()


def source_files(raw: RawCase) -> list[Path]:
    """Every file of a case, each once."""
    files = [path for path, _ in raw.images.values()]
    return list(dict.fromkeys(files if raw.segmentation is None else [*files, raw.segmentation]))


def _shape(values: list[int] | tuple[int, ...]) -> Shape3d:
    x, y, z = values
    return (x, y, z)
