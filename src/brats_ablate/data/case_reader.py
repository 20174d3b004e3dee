"""Read, validate, reorient and crop one raw case, in memory.

`job=prepare` writes the result to the store; `job=predict` uses that of a raw folder directly.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from brats_ablate.cases import BBox, CaseMetadata, RawCase
from brats_ablate.data import nifti, validation
from brats_ablate.data.components import connected_components
from brats_ablate.data.content import content_hash
from brats_ablate.data.resampling import Resampling
from brats_ablate.errors import DataError
from brats_ablate.labels.scheme import LabelScheme


@dataclass(frozen=True)
class PreparedCase:
    """A case as the store keeps it."""

    record: CaseMetadata
    images: np.ndarray
    """(M, X, Y, Z) int16 (float32 where the data are not integers), raw values, RAS+, cropped, C-contiguous."""
    labels: np.ndarray | None
    """(X, Y, Z) uint8 label map, or None without a segmentation."""
    modalities: tuple[str, ...]
    """Names of the M channels."""
    backgrounds: tuple[float, ...] = ()
    """Value outside the brain in each image's file, which was mapped to 0."""
    reference: np.ndarray | None = None
    """The label map before resampling, on the files' grid and axes; None where nothing was resampled."""

    def with_channels(self, modalities: Sequence[str]) -> PreparedCase:
        """Return the case with these channels, in this order; one that it lacks is 0, also after normalization."""
        if tuple(modalities) == self.modalities:
            return self
        row = {m: i for i, m in enumerate(self.modalities)}
        images = np.zeros((len(modalities), *self.images.shape[1:]), dtype=self.images.dtype)
        for channel, modality in zip(images, modalities, strict=True):
            if modality in row:
                channel[:] = self.images[row[modality]]
        mean, std = (
            tuple(values[row[m]] if m in row else 0.0 for m in modalities)
            for values in (self.record.mean, self.record.std)
        )
        return PreparedCase(replace(self.record, mean=mean, std=std), images, self.labels, tuple(modalities))


@dataclass(frozen=True)
class ReadingRules:
    """How the files of a data set are read; part of its configuration."""

    labels: LabelScheme
    background: str | float = "auto"
    """See `background_value`."""
    trust_affine_of: str | None = None
    """The modality whose header places all files of a case that have its shape; None for each file's own."""
    spacing: tuple[float, ...] | None = None
    """Voxel edges in mm along the RAS+ axes to resample to; None for the files' own."""

    def __post_init__(self) -> None:
        if self.spacing is not None:  # a list in a configuration and in JSON
            object.__setattr__(self, "spacing", tuple(float(edge) for edge in self.spacing))


def read_case(
    raw: RawCase, rules: ReadingRules, read: Callable[[Path], nifti.NiftiFile] = nifti.read_file
) -> PreparedCase:
    """Read a case that passed `validation.validate_files`; `raw.images` are its channels, one or more.

    Each file is oriented by its own header. `read` returns the content of a path, also of one that names an array in
    memory.

    The box contains every voxel that is non-zero in any modality (paper section 2.1). It also contains every labeled
    voxel, so a reference survives the crop even where an annotation leaves the brain.

    Raises:
        DataError: a file is unreadable, or the case is invalid (see `validation`).
    """
    paths = [path for path, _ in raw.images.values()]
    files = {path: read(path) for path in dict.fromkeys(paths)}
    if rules.trust_affine_of is not None and rules.trust_affine_of not in raw.images:
        raise DataError(
            f"data.trust_affine_of={rules.trust_affine_of} is missing; add the file, or set another modality"
        )
    trusted = None if rules.trust_affine_of is None else files[raw.images[rules.trust_affine_of][0]]
    grids: list[validation.Grid] = []
    oriented: list[np.ndarray] = []
    backgrounds: list[float] = []
    for modality, (path, volume) in raw.images.items():
        array = nifti.select_volume(path, files[path].array, volume, paths.count(path))
        grids.append(_grid(path, array, files[path], trusted))
        validation.check_grid(grids[-1], grids[0])
        validation.check_numbers(path, modality, array)
        backgrounds.append(background_value(path, array, rules.background))
        array = shifted(array, backgrounds[-1])
        validation.check_contrast(path, modality, array)
        oriented.append(grids[-1].orientation.to_ras(array))
    encoded = None
    if raw.segmentation is not None:
        file = read(raw.segmentation)
        values = nifti.select_volume(raw.segmentation, file.array)
        grids.append(_grid(raw.segmentation, values, file, trusted))
        validation.check_grid(grids[-1], grids[0])
        encoded = validation.encoded_labels(raw.segmentation, values, rules.labels)
        encoded = grids[-1].orientation.to_ras(encoded)
    grid = grids[0].geometry
    reference = None
    resampling = None if rules.spacing is None else Resampling.of(grid, rules.spacing)
    if resampling is not None:
        oriented = [resampling.image(volume) for volume in oriented]
        if encoded is not None:
            reference = np.empty(grid.shape, encoded.dtype)
            grids[0].orientation.to_ras(reference)[:] = encoded
            encoded = resampling.labels(encoded)
    box = foreground_box(oriented if encoded is None else [*oriented, encoded])

    images = _stack([v[box.slices] for v in oriented])
    if encoded is not None:
        encoded = np.ascontiguousarray(encoded[box.slices])
    mean, std = foreground_moments(images)
    record = CaseMetadata(
        case_id=raw.case_id,
        patient_id=raw.patient_id,
        grid=grid,
        box=box,
        mean=mean,
        std=std,
        has_labels=encoded is not None,
        components=() if encoded is None else connected_components(encoded),
        content_hash=content_hash(images, encoded, box, grid, reference),
        resampled_mm=None if resampling is None else rules.spacing,
    )
    return PreparedCase(record, images, encoded, tuple(raw.images), tuple(backgrounds), reference)


def _grid(path: Path, array: np.ndarray, file: nifti.NiftiFile, trusted: nifti.NiftiFile | None) -> validation.Grid:
    """Return the grid of a volume of `file` by its own header, or by that of the `trusted` file if the shapes agree."""
    if trusted is not None and trusted.array.shape[:3] == array.shape:
        file = trusted
    remedy = "export it again, or set data.trust_affine_of to a modality of this case whose header is right"
    if file.position.qform_code == file.position.sform_code == 0:
        raise DataError(
            f"{path} has no position in its header (qform_code and sform_code are 0), so left and right are unknown; "
            + remedy
        )
    if not np.isfinite(file.affine).all():
        raise DataError(f"{path} has a position that is not finite in its header; {remedy}")
    try:
        orientation = nifti.Orientation.of(file.affine)
    except ValueError as error:
        raise DataError(f"{path} has no usable geometry: {error}; {remedy}") from error
    return validation.Grid(path, array.shape, file.affine, orientation, file.position)


def background_value(path: Path, array: np.ndarray, background: str | float) -> float:
    """Return the value of an image (X, Y, Z) outside the brain; 0 also for an image that has no such value.

    `background` is the value, "none" for an image without (not skull-stripped), or "auto" for that of the eight
    corners.

    Raises:
        DataError: the corners have several values, none of them 0, or the value is a fraction and the voxels are not.
    """
    if background == "none":
        return 0
    if background != "auto":
        if array.dtype.kind in "iu" and not float(background).is_integer():
            raise DataError(f"{path} has whole numbers only, so data.background={background} cannot be one; correct it")
        return float(background)
    corners = array[np.ix_(*((0, size - 1) for size in array.shape))]
    if (corners == 0).any():
        return 0
    if (corners != corners.flat[0]).any():
        raise DataError(
            f"{path} has no background (corners {corners.min():.4g} to {corners.max():.4g}); strip the skull, "
            "or set data.background to the background's value, or to none if there is no background"
        )
    return float(corners.flat[0])


def shifted(array: np.ndarray, background: float) -> np.ndarray:
    """Shift an image such that its background is 0, as everything after it expects; z-scoring undoes the rest."""
    if background == 0:
        return array
    if array.dtype.kind in "iu":
        return array.astype(np.int64) - int(background)
    result: np.ndarray = array - array.dtype.type(background)
    return result


def foreground_box(volumes: list[np.ndarray]) -> BBox:
    """Return the smallest box that contains every voxel that is non-zero in any of the (X, Y, Z) volumes.

    Raises:
        ValueError: all volumes are zero.
    """
    present = volumes[0] != 0
    for volume in volumes[1:]:
        present |= volume != 0
    box = BBox.around(present)
    if box is None:
        raise ValueError("all volumes are zero")
    return box


def foreground_moments(images: np.ndarray) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and population SD of each modality over its own non-zero voxels.

    Computed in float64 and in two passes: E[x²] − µ² in float32 is off by 3e-3 on a real case.
    """
    mean, std = [], []
    for image in images:
        brain = image[image != 0].astype(np.float64)
        mean.append(float(brain.mean()))
        std.append(float(np.sqrt(np.square(brain - mean[-1]).mean())))
    return tuple(mean), tuple(std)


def _stack(volumes: list[np.ndarray]) -> np.ndarray:
    """Stack volumes to (M, X, Y, Z): int16 where that is lossless, else float32."""
    limits = np.iinfo(np.int16)
    whole = all(v.dtype.kind in "iu" or (v == np.rint(v)).all() for v in volumes)
    fits = whole and all(v.min() >= limits.min and v.max() <= limits.max for v in volumes)
    return np.stack([v.astype(np.int16 if fits else np.float32, order="C") for v in volumes])


def source_files(raw: RawCase) -> list[Path]:
    """Return every file of a case, each once."""
    files = [path for path, _ in raw.images.values()]
    return list(dict.fromkeys(files if raw.segmentation is None else [*files, raw.segmentation]))
