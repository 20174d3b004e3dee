"""Validation of raw cases: files, grids, intensities, labels, label convention.

Each failed check is a DataError, or a reason, of one sentence that names the file.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from brats_ablate import labels
from brats_ablate.cases import BBox, RawCase
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
            problems[case.case_id] = f"modality {', '.join(missing)} is missing; add the file or remove the case"
        elif need_segmentation and case.segmentation is None:
            problems[case.case_id] = (
                "the segmentation is missing; add it, or set job.require_segmentation=false to prepare for prediction"
            )
    return problems


def _first_file(case: RawCase) -> Path:
    return next((path for path, _ in case.images.values()), case.segmentation or Path(case.case_id))


def check_grid(
    path: Path,
    array: np.ndarray,
    affine: np.ndarray,
    reference: Path,
    reference_shape: tuple[int, ...],
    reference_affine: np.ndarray,
) -> None:
    """Raise DataError unless the volume `path` has the shape and the affine of the volume `reference`."""
    if array.shape != reference_shape:
        raise DataError(
            f"{path} has shape {array.shape}, {reference.name} has {reference_shape}; a case must share one grid"
        )
    if not np.allclose(affine, reference_affine, rtol=0, atol=_AFFINE_TOLERANCE):
        worst = float(np.abs(affine - reference_affine).max())
        raise DataError(
            f"{path} has a different affine from {reference.name} (by up to {worst:.3g}); a case must share one grid"
        )


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
