"""Validation of raw cases: files, grids, intensities, labels.

Each failed check is a DataError, or a reason, of one sentence that names the file.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from brats_ablate.cases import BBox, ImageGeometry, NiftiPosition, RawCase, shape3d
from brats_ablate.data.layouts import SEGMENTATION, Layout
from brats_ablate.data.nifti import Orientation
from brats_ablate.errors import DataError
from brats_ablate.labels.scheme import LabelError, LabelScheme, rounded
from brats_ablate.runtime.text import first_few

_AFFINE_TOLERANCE = 1e-3


def validate_files(
    cases: Iterable[RawCase],
    layout: Layout,
    *,
    need_segmentation: bool,
    required: Sequence[str] | None = None,
    remedy: str = "add the file or remove the case",
) -> dict[str, str]:
    """Return case id -> reason for the cases with missing files or a duplicate id.

    `required` are the modalities that a case must have, None for all; `remedy` ends the reason of one that lacks some.
    """
    cases = list(cases)
    problems = {}
    occurrences = Counter(c.case_id for c in cases)
    for case in cases:
        missing = [m for m in (layout.modalities if required is None else required) if m not in case.images]
        if occurrences[case.case_id] > 1:
            places = _places([c for c in cases if c.case_id == case.case_id])
            problems[case.case_id] = f"the id occurs {occurrences[case.case_id]} times ({places}); keep one"
        elif missing:
            hint = _unrecognized(case, layout, missing[0])
            problems[case.case_id] = f"modality {', '.join(missing)} is missing{hint}; {remedy}"
        elif need_segmentation and case.segmentation is None:
            hint = _unrecognized(case, layout, SEGMENTATION)
            problems[case.case_id] = (
                f"the segmentation is missing{hint}; add it, or set job.require_segmentation=false to prepare for "
                "prediction"
            )
    return problems


def _unrecognized(case: RawCase, layout: Layout, kind: str) -> str:
    """Name the files that may be the missing one of `kind`, and what it should be called."""
    if not case.unrecognized:
        return ""
    return f" (not recognized: {first_few(case.unrecognized)}; expected {layout.file_name(case.case_id, kind)})"


def _places(cases: Sequence[RawCase]) -> str:
    """Name the folders of cases of one id, or, if they share one, the files that only some have."""
    folders = sorted(str(_first_file(case).parent) for case in cases)
    if len(set(folders)) > 1:
        return ", ".join(folders)
    files = [{path for path, _ in case.images.values()} | {case.segmentation or Path()} for case in cases]
    in_all = set.intersection(*files)
    return ", ".join(sorted({str(path) for of_case in files for path in of_case - in_all}))


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


def check_numbers(path: Path, modality: str, array: np.ndarray) -> None:
    """Raise DataError if the voxels of an image are no numbers, or not finite."""
    if array.dtype.kind not in "iuf":
        raise DataError(f"{path} ({modality}) contains {array.dtype} voxels; intensities must be plain numbers")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        count = int((~np.isfinite(array)).sum())
        raise DataError(f"{path} ({modality}) contains {count} voxels that are NaN or infinite; replace the file")


def check_contrast(path: Path, modality: str, array: np.ndarray) -> None:
    """Raise DataError if an image whose background is 0 is zero everywhere, or one value everywhere else."""
    value = array.max() or array.min()
    if value == 0:
        raise DataError(f"{path} ({modality}) is zero everywhere; replace the file")
    # Slice by slice in file order: the first slice with two non-zero values ends the loop.
    if all(((piece == 0) | (piece == value)).all() for piece in array.T):
        raise DataError(f"{path} ({modality}) has one value in all non-zero voxels; replace the file")


class UnknownLabels(DataError):
    """A segmentation has values that its scheme does not know."""

    def __init__(self, message: str, values: Sequence[float]) -> None:
        super().__init__(message)
        self.values = tuple(values)
        """All values of the file."""


class Problem(NamedTuple):
    """Why a case is invalid."""

    reason: str
    values: Sequence[float] = ()
    """All label values of its file, if the scheme does not have one of them."""

    @staticmethod
    def of(error: DataError) -> Problem:
        """Return the problem that an error about one case describes."""
        return Problem(str(error), error.values if isinstance(error, UnknownLabels) else ())


def encoded_labels(path: Path, values: np.ndarray, labels: LabelScheme) -> np.ndarray:
    """Return the label map of a segmentation file's values.

    Raises:
        DataError: the voxels are colors or complex numbers; names the file.
        UnknownLabels: a value is not in the scheme; names the file.
    """
    if values.dtype.kind not in "iuf":
        raise DataError(f"{path} contains {values.dtype} voxels; labels must be plain numbers")
    try:
        return labels.encode(values)
    except LabelError as error:
        raise UnknownLabels(f"{path}: {error}", np.unique(rounded(values)).tolist()) from error


def background_contact(encoded: np.ndarray, labels: LabelScheme) -> tuple[float, float] | None:
    """Return the faces shared with background per voxel, of the two tissues of `LabelScheme.outside_inside`.

    Edema surrounds the core and so borders on healthy tissue; necrosis lies inside. Swapped labels 1 and 2 reverse
    this, which is their only detectable symptom. None unless both are present.
    """
    box = BBox.around(encoded)
    if box is None or not labels.outside_inside:
        return None
    padded = np.pad(encoded[box.slices], 1)
    rates = []
    for tissue in labels.outside_inside:
        voxels = padded == labels.label(tissue)
        count = int(voxels.sum())
        if count == 0:
            return None
        neighbors = (np.roll(padded, step, axis) for axis in range(3) for step in (1, -1))
        rates.append(sum(int((voxels & (n == 0)).sum()) for n in neighbors) / count)
    return rates[0], rates[1]


def check_plausible(
    contacts: Mapping[str, tuple[float, float] | None], labels: LabelScheme, known: Sequence[LabelScheme]
) -> None:
    """Raise DataError if in most cases the inner tissue borders on background more than the outer one does.

    `contacts` holds the `background_contact` of every case, `known` the schemes to suggest.
    """
    seen = [c for c in contacts.values() if c is not None]
    swapped = sum(inner > outer for outer, inner in seen)
    if not seen or swapped <= len(seen) / 2:
        return
    outer, inner = labels.outside_inside
    values = labels.label_of_value.keys()
    other = [s.name for s in known if are_swapped(s, labels) and s.label_of_value.keys() == values]
    remedy = f"set labels={other[0]}" if other else "check labels"
    raise DataError(
        f"the labels do not look like labels={labels.name}: in {swapped} of {len(seen)} cases {inner} borders on "
        f"healthy tissue more than {outer} does, as if the two were swapped; {remedy}, or set "
        "job.trust_convention=true if the labels are correct"
    )


def are_swapped(scheme: LabelScheme, labels: LabelScheme) -> bool:
    """Return whether the outer tissue of one scheme has the value of the inner one of the other, and the reverse."""
    if not scheme.outside_inside or not labels.outside_inside:
        return False
    ours, theirs = ([dict(s.tissues)[t] for t in s.outside_inside] for s in (labels, scheme))
    return theirs == ours[::-1]


def check_case_ids(case_ids: Sequence[str], labels: LabelScheme, known: Sequence[LabelScheme]) -> None:
    """Raise DataError if the ids are of a challenge that labels its data by another scheme of `known`."""
    if labels.cases is None:
        return
    for case_id in case_ids:
        others = [s.name for s in known if s.cases and re.match(s.cases, case_id)]
        if others and not re.match(labels.cases, case_id):
            raise DataError(
                f"case {case_id} is named as data with labels={' or '.join(others)}, not labels={labels.name}; set "
                "that, or job.trust_convention=true if the labels are correct"
            )


def fitting_schemes(values: Iterable[float], case_ids: Sequence[str], known: Sequence[LabelScheme]) -> list[str]:
    """Return the names of the schemes that have all these values, of those the ones that fit the ids if any does."""
    fitting = [s for s in known if set(values) <= set(s.label_of_value)]
    named = [s for s in fitting if s.cases and all(re.match(s.cases, case_id) for case_id in case_ids)]
    return [s.name for s in named or fitting]
