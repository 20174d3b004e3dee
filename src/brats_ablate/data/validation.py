"""What makes a raw case unfit, each fault told in one sentence: files, grids, values, labels, label convention."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from brats_ablate import labels
from brats_ablate.cases import RawCase
from brats_ablate.errors import DataError

_AFFINE_TOLERANCE = 1e-3


def file_problems(cases: Iterable[RawCase], *, need_segmentation: bool) -> dict[str, str]:
    """Case id to reason, for the cases whose files are not all there or whose id is not theirs alone."""
    cases = list(cases)
    problems = {}
    times = Counter(c.case_id for c in cases)
    for case in cases:
        missing = [m for m in labels.MODALITIES if m not in case.images]
        if times[case.case_id] > 1:
            folders = ", ".join(sorted(str(_first_file(c).parent) for c in cases if c.case_id == case.case_id))
            problems[case.case_id] = f"the id occurs {times[case.case_id]} times ({folders}); keep one"
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
    path: Path, array: np.ndarray, affine: np.ndarray, like: Path, shape: tuple[int, ...], of: np.ndarray
) -> None:
    """Raise DataError unless the volume `path` has the shape and the affine of the volume `like`."""
    if array.shape != shape:
        raise DataError(f"{path} has shape {array.shape}, {like.name} has {shape}; a case must share one grid")
    if not np.allclose(affine, of, rtol=0, atol=_AFFINE_TOLERANCE):
        worst = float(np.abs(affine - of).max())
        raise DataError(
            f"{path} has another affine than {like.name} (by up to {worst:.3g}); a case must share one grid"
        )


def check_values(path: Path, modality: str, array: np.ndarray) -> None:
    """Raise DataError if an image is not finite, all zero, or constant."""
    if array.dtype.kind not in "iuf":
        raise DataError(f"{path} ({modality}) holds {array.dtype} voxels; intensities must be plain numbers")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        count = int((~np.isfinite(array)).sum())
        raise DataError(f"{path} ({modality}) holds {count} voxels that are NaN or infinite; replace the file")
    value = array.max() or array.min()
    if value == 0:
        raise DataError(f"{path} ({modality}) is zero everywhere; replace the file")
    # Slice by slice as the file has them: the first that shows tissue settles it.
    if all(((piece == 0) | (piece == value)).all() for piece in array.T):
        raise DataError(f"{path} ({modality}) has one value in all non-zero voxels; replace the file")


def depth_of(path: Path, values: np.ndarray, convention: str) -> np.ndarray:
    """Nesting depths of a segmentation file's values; DataError naming the file where `labels.to_depth` objects."""
    try:
        return labels.encode_labels(values, convention)
    except labels.LabelError as error:
        fitting = [c for c, known in labels.CONVENTIONS.items() if set(np.unique(values).tolist()) <= set(known)]
        remedy = (
            f"set data.convention to {' or '.join(fitting)} if that is what it is" if fitting else "correct the file"
        )
        raise DataError(f"{path}: {error}; {remedy}") from error


def background_contact(depth: np.ndarray) -> tuple[float, float] | None:
    """Faces shared with background per voxel, of ED and of NCR; None unless both are there.

    Oedema surrounds the core and so borders on healthy tissue; necrosis lies inside. With labels 1 and 2 swapped it
    is the other way round, which is the only trace that such a mistake leaves.
    """
    rows = [np.flatnonzero(depth.any(axis=other)) for other in ((1, 2), (0, 2), (0, 1))]
    if not rows[0].size:
        return None
    padded = np.pad(depth[tuple(slice(r[0], r[-1] + 1) for r in rows)], 1)
    rates = []
    for tissue in (labels.ED, labels.NCR):
        voxels = padded == tissue
        count = int(voxels.sum())
        if count == 0:
            return None
        faces = sum(
            int((voxels & (np.roll(padded, step, axis) == labels.BACKGROUND)).sum())
            for axis in range(3)
            for step in (1, -1)
        )
        rates.append(faces / count)
    return rates[0], rates[1]


def check_convention(contacts: Mapping[str, tuple[float, float] | None], convention: str) -> None:
    """Raise DataError if in most cases NCR borders on background more than ED does.

    Args:
        contacts: `background_contact` of every case.
        convention: the declared one, for the message.
    """
    known = [c for c in contacts.values() if c is not None]
    swapped = sum(ncr > ed for ed, ncr in known)
    if known and swapped > len(known) / 2:
        other = {"msd": "brats2023", "brats2023": "msd"}.get(convention)
        remedy = f"set data.convention={other}" if other else "check data.convention"
        raise DataError(
            f"the labels do not look like convention {convention!r}: in {swapped} of {len(known)} cases what it calls "
            f"necrosis borders on healthy tissue more than what it calls oedema, as if the two were swapped; {remedy}, "
            "or set job.trust_convention=true if you are sure"
        )
