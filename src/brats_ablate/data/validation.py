"""Validation of raw cases: files, grids, intensities, labels, label convention.

Each failed check is a DataError, or a reason, of one sentence that names the file.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from brats_ablate import labels
from brats_ablate.cases import BBox, ImageGeometry, NiftiPosition, RawCase, shape3d
from brats_ablate.data.layouts import name_of
from brats_ablate.data.nifti import Orientation
from brats_ablate.errors import DataError

_AFFINE_TOLERANCE = 1e-3


def validate_files(cases: Iterable[RawCase], *, need_segmentation: bool) -> dict[str, str]:
    """Return case id -> reason for the cases with missing files or a duplicate id."""
    cases = list(cases)
    problems = {}
    occurrences = Counter(c.case_id for c in cases)
    for case in cases:
        missing = [m for m in labels.MODALITIES if m not in case.images]
        if occurrences[case.case_id] > 1:
            folders = ", ".join(sorted(str(_first_file(c).parent) for c in cases if c.case_id == case.case_id))
            problems[case.case_id] = f"the id occurs {occurrences[case.case_id]} times ({folders}); keep one"
        elif missing:
            hint = _unrecognized(case, missing[0])
            problems[case.case_id] = f"modality {', '.join(missing)} is missing{hint}; add the file or remove the case"
        elif need_segmentation and case.segmentation is None:
            hint = _unrecognized(case, "seg")
            problems[case.case_id] = (
                f"the segmentation is missing{hint}; add it, or set job.require_segmentation=false to prepare for "
                "prediction"
            )
    return problems


def _unrecognized(case: RawCase, kind: str) -> str:
    """Name the files that may be the missing one of `kind`, and what it should be called."""
    if not case.unrecognized:
        return ""
    listed = ", ".join(case.unrecognized[:3]) + (", …" if len(case.unrecognized) > 3 else "")
    return f" (not recognized: {listed}; expected {name_of(kind, _first_file(case).name)})"


def _first_file(case: RawCase) -> Path:
    return next((path for path, _ in case.images.values()), case.segmentation or Path(case.case_id))


class Grid(NamedTuple):
    """Where the voxels of a file lie."""

    path: Path
    shape: tuple[int, ...]
    affine: np.ndarray
    """4 × 4, voxel index of the file to mm."""
    orientation: Orientation
    position: NiftiPosition

    @property
    def geometry(self) -> ImageGeometry:
        """The grid as a case's metadata keep it."""
        affine = tuple(tuple(row) for row in self.affine.tolist())
        return ImageGeometry(shape3d(self.shape), affine, self.position)

    @property
    def shape_in_ras(self) -> tuple[int, ...]:
        """Voxels from left to right, from back to front, and from bottom to top."""
        return tuple(self.shape[axis] for axis in self.orientation.axes)

    @property
    def affine_in_ras(self) -> np.ndarray:
        """The affine of the voxels in RAS+ order."""
        return self.orientation.affine_in_ras(self.affine, self.shape)


def check_grid(grid: Grid, reference: Grid) -> None:
    """Raise DataError, saying what differs, unless two files have one grid, whatever the order of their axes."""
    path, other = grid.path, reference.path.name
    if grid.shape_in_ras != reference.shape_in_ras:
        raise DataError(
            f"{path} has {_voxels(grid.shape_in_ras)} voxels (RAS+), {other} has {_voxels(reference.shape_in_ras)}; "
            "resample one to the grid of the other"
        )
    affines = (grid.affine, reference.affine)
    if grid.orientation != reference.orientation:
        affines = (grid.affine_in_ras, reference.affine_in_ras)
    difference = np.abs(affines[0] - affines[1])
    axes, origin = difference[:3, :3].max(), difference[:3, 3].max()
    if axes > _AFFINE_TOLERANCE:
        raise DataError(
            f"{path} has other axes (directions or voxel sizes) than {other}, by up to {axes:.3g} mm per voxel; "
            "resample one to the grid of the other"
        )
    if origin > _AFFINE_TOLERANCE:
        raise DataError(
            f"{path} has another origin than {other}, by up to {origin:.3g} mm; register the two, or set "
            "data.trust_affine_of to the modality whose header is right if only headers differ"
        )


def _voxels(shape: tuple[int, ...]) -> str:
    return "×".join(str(size) for size in shape)


def check_values(path: Path, modality: str, array: np.ndarray) -> None:
    """Raise DataError if an image is not finite, all zero, or constant."""
    if array.dtype.kind not in "iuf":
        raise DataError(f"{path} ({modality}) contains {array.dtype} voxels; intensities must be plain numbers")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        count = int((~np.isfinite(array)).sum())
        raise DataError(f"{path} ({modality}) contains {count} voxels that are NaN or infinite; replace the file")
    value = array.max() or array.min()
    if value == 0:
        raise DataError(f"{path} ({modality}) is zero everywhere; replace the file")
    # Slice by slice in file order: the first slice with two non-zero values ends the loop.
    if all(((piece == 0) | (piece == value)).all() for piece in array.T):
        raise DataError(f"{path} ({modality}) has one value in all non-zero voxels; replace the file")


def nested_labels(path: Path, values: np.ndarray, convention: str) -> np.ndarray:
    """Return the nested label map of a segmentation file's values.

    Raises:
        DataError: a value is not in the convention; names the file and the conventions that fit.
    """
    try:
        return labels.encode_labels(values, convention)
    except labels.LabelError as error:
        fitting = [c for c, known in labels.CONVENTIONS.items() if set(np.unique(values).tolist()) <= set(known)]
        remedy = f"set data.convention to {' or '.join(fitting)} if that is correct" if fitting else "correct the file"
        raise DataError(f"{path}: {error}; {remedy}") from error


def background_contact(nested: np.ndarray) -> tuple[float, float] | None:
    """Return the faces shared with background per voxel, of ED and of NCR; None unless both are present.

    Edema surrounds the core and so borders on healthy tissue; necrosis lies inside. Swapped labels 1 and 2 reverse
    this, which is their only detectable symptom.
    """
    box = BBox.around(nested)
    if box is None:
        return None
    padded = np.pad(nested[box.slices], 1)
    rates = []
    for tissue in (labels.ED, labels.NCR):
        voxels = padded == tissue
        count = int(voxels.sum())
        if count == 0:
            return None
        neighbors = (np.roll(padded, step, axis) for axis in range(3) for step in (1, -1))
        rates.append(sum(int((voxels & (n == labels.BACKGROUND)).sum()) for n in neighbors) / count)
    return rates[0], rates[1]


def check_convention(contacts: Mapping[str, tuple[float, float] | None], convention: str) -> None:
    """Raise DataError if in most cases NCR borders on background more than ED does.

    `contacts` holds the `background_contact` of every case; `convention` is the declared one.
    """
    known = [c for c in contacts.values() if c is not None]
    swapped = sum(ncr > ed for ed, ncr in known)
    if known and swapped > len(known) / 2:
        other = {"msd": "brats2023", "brats2023": "msd"}.get(convention)
        remedy = f"set data.convention={other}" if other else "check data.convention"
        raise DataError(
            f"the labels do not look like convention {convention!r}: in {swapped} of {len(known)} cases necrosis "
            f"borders on healthy tissue more than edema does, as if the two were swapped; {remedy}, or set "
            "job.trust_convention=true if the labels are correct"
        )
