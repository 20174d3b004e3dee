"""The prepared store, written by `job=prepare` and read by every later job.

`cohort.json` holds name, fingerprint and the cases in order. `records.jsonl` holds a case's metadata per line, in that
order; a line is parsed on first use, so 1,251 cases open in milliseconds. `folds.json` holds the frozen folds,
`cases/<id>/{case.json,images.b2nd,labels.b2nd}` the cases. The voxels of a case are compared with its content hash when
it is first read by a process, `records.jsonl` and `folds.json` with their checksums when the store is opened.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from brats_ablate.cases import BBox, CaseMetadata
from brats_ablate.data import blosc2_io, folds
from brats_ablate.data.content import content_hash
from brats_ablate.errors import DataError
from brats_ablate.labels.scheme import LabelScheme
from brats_ablate.runtime.activity import reading
from brats_ablate.runtime.files import to_json, write_json, write_text

VERSION = 1
"""Version of the store's format; cases of a different version are preprocessed again."""
FIRST_MODALITIES = ("flair", "t1", "t1ce", "t2")
"""The channels of BraTS up to 2023, and of all that version 0.1 prepared."""

COHORT, RECORDS, FOLDS, CASES = "cohort.json", "records.jsonl", "folds.json", "cases"
REFERENCE = "reference.b2nd"
"""In the folder of a resampled case: its label map before resampling, on the original files' grid."""


@dataclass(frozen=True)
class Cohort:
    """The content of `cohort.json`: cases in sorted order, each with its content hash."""

    name: str
    layout: str
    labels: LabelScheme
    modalities: Sequence[str]
    """The channels, in order."""
    content_hashes: Mapping[str, str]
    spacing: Sequence[float] | None = None
    """See `ReadingRules`."""

    @property
    def fingerprint(self) -> str:
        """Return the sha256 of format, layout, labels, channel order, spacing and every case's content hash."""
        head = [VERSION, self.layout, self.labels.key, list(self.modalities), sorted(self.content_hashes.items())]
        if self.spacing is not None:  # an option that earlier versions lacked
            head.append(list(self.spacing))
        return hashlib.sha256(to_json(head).encode()).hexdigest()


class CaseStore:
    """A prepared cohort, read-only; safe to share between threads.

    Args:
        folder: the value of `paths.prepared`.
        modalities: the channels that images, means and standard deviations have, in order; None for all as prepared.

    Raises:
        DataError: the folder is not prepared, is of a different version, lacks a modality, or its cases do not match
            its fingerprint.
    """

    def __init__(self, folder: Path, modalities: Sequence[str] | None = None) -> None:
        self.folder = Path(folder)
        self._records: dict[str, CaseMetadata] = {}
        self._verified: set[str] = set()
        try:
            head = _load(self.folder / COHORT)
            records = (self.folder / RECORDS).read_bytes()
            self._lines = records.splitlines()
            frozen = _load(self.folder / FOLDS)
            self._frozen: list[list[str]] = frozen["validation"]
            present = {entry.name for entry in os.scandir(self.folder / CASES)}
            if head["version"] != VERSION:
                raise DataError(f"{self.folder} was prepared by a different version of this program; {_COMMAND}")
            labels, channels, cases = LabelScheme.recorded(head), head["modalities"], head["cases"]
            cohort = Cohort(head["name"], head["layout"], labels, channels, cases, head.get("spacing"))
            self.folds = [[c for c in fold if c in cases] for fold in self._frozen]
            """Validation ids of each fold.

            Folds are drawn over all raw cases; invalid ones are left out here. Fixing a case later therefore moves no
            other case to a different fold.
            """
            self.fold_settings = {"data.n_folds": frozen["n_folds"], "data.fold_seed": frozen["seed"]}
            """What the folds were drawn by."""
            self.folds_fingerprint = folds.fingerprint(self._frozen)
            """Of the cases of each fold."""
            self.fingerprint = cohort.fingerprint
            """See `Cohort`."""
        except (FileNotFoundError, NotADirectoryError) as error:
            raise DataError(f"{error.filename} does not exist: {self.folder} is not prepared; {_COMMAND}") from error
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise DataError(f"{self.folder / COHORT} or {FOLDS} is damaged; {_COMMAND}") from error
        self._row = {case_id: i for i, case_id in enumerate(head["cases"])}
        self.case_ids = list(self._row)
        """All cases, sorted."""
        self.modalities = tuple(cohort.modalities if modalities is None else modalities)
        """Names of the channels."""
        if unknown := [m for m in self.modalities if m not in cohort.modalities]:
            raise DataError(
                f"inputs.modalities: {self.folder} contains no {unknown[0]}; choose from {', '.join(cohort.modalities)}"
            )
        rows = [cohort.modalities.index(m) for m in self.modalities]
        self._rows = None if self.modalities == tuple(cohort.modalities) else rows
        self.labels = cohort.labels
        """Label scheme of the raw files and of the stored label maps."""
        self.spacing = cohort.spacing
        """Voxel edges in mm along the RAS+ axes that all cases were resampled to; None for the files' own."""
        missing = [c for c in head["cases"] if c not in present]
        if missing:
            raise DataError(f"{self.folder}: {len(missing)} cases are missing ({missing[0]}, …); {_COMMAND}")
        checksum = head.get("records_sha256")  # None in stores of version 0.1
        is_intact = checksum in (None, hashlib.sha256(records).hexdigest()) and len(self._lines) == len(self._row)
        if self.fingerprint != head["fingerprint"] or not is_intact:
            raise DataError(f"{self.folder / RECORDS}: its cases do not match its fingerprint; {_COMMAND}")
        if head.get("folds_sha256") not in (None, self.folds_fingerprint):  # None in stores of earlier versions
            raise DataError(
                f"{self.folder / FOLDS} was changed after job=prepare; restore it, or {_COMMAND}, to take these folds"
            )

    def held_out(self, fold: int) -> str:
        """Return a fingerprint of the validation cases of a fold."""
        return folds.fingerprint(self._frozen[fold : fold + 1])

    def record(self, case_id: str) -> CaseMetadata:
        """Return the metadata of a case; DataError if the cohort has no such case."""
        if case_id not in self._row:
            raise DataError(f"{self.folder} contains no case {case_id!r}; check the id")
        if case_id not in self._records:
            record = CaseMetadata.from_dict(json.loads(self._lines[self._row[case_id]]))
            if self._rows is not None:
                mean, std = (tuple(values[row] for row in self._rows) for values in (record.mean, record.std))
                record = replace(record, mean=mean, std=std)
            self._records[case_id] = record
        return self._records[case_id]

    def read_images(self, case_id: str, box: BBox | None = None) -> np.ndarray:
        """Read raw values, (M, X, Y, Z) int16 or float32 of the M `modalities`, whole or inside `box`.

        `box` is in cropped coordinates and must lie inside the volume. Raises DataError if the file is damaged.
        """
        return self._read(case_id, "images.b2nd", box, self._rows)

    def read_shown(self, case_id: str) -> dict[str, np.ndarray]:
        """Read what pictures show of a case: `shown_modalities` by name, each (X, Y, Z)."""
        images = self.read_images(case_id)
        return {name: images[self.modalities.index(name)] for name in shown_modalities(self.modalities)}

    def read_labels(self, case_id: str, box: BBox | None = None) -> np.ndarray:
        """Read the label map, (X, Y, Z) uint8, whole or inside `box`; DataError without a segmentation."""
        if not self.record(case_id).has_labels:
            raise DataError(f"case {case_id} has no segmentation; train and evaluate need one")
        return self._read(case_id, "labels.b2nd", box)

    def read_reference(self, case_id: str) -> np.ndarray:
        """Read the label map on the original files' grid and axes, not resampled; errors as `read_labels`."""
        record = self.record(case_id)
        if record.resampled_mm is None or not record.has_labels:
            return to_original_space(record, self.read_labels(case_id))
        return self._read(case_id, REFERENCE, None)

    def verify(self, case_id: str) -> None:
        """Compare a case's voxels, labels and geometry with its content hash.

        Raises:
            DataError: they differ: the files were damaged after `job=prepare`.
        """
        record = self.record(case_id)
        images = self._array(case_id, "images.b2nd")
        labels = self._array(case_id, "labels.b2nd") if record.has_labels else None
        reference = self._array(case_id, REFERENCE) if record.has_labels and record.resampled_mm is not None else None
        if content_hash(images, labels, record.box, record.grid, reference) != record.content_hash:
            folder = self.folder / CASES / case_id
            raise DataError(
                f"{folder} is damaged: it is not what was prepared; delete this folder and run job=prepare again"
            )
        self._verified.add(case_id)

    def _read(self, case_id: str, file: str, box: BBox | None, rows: Sequence[int] | None = None) -> np.ndarray:
        with reading(f"case {case_id}"):
            if case_id not in self._verified:
                self.verify(case_id)
            return self._array(case_id, file, box, rows)

    def _array(self, case_id: str, file: str, box: BBox | None = None, rows: Sequence[int] | None = None) -> np.ndarray:
        record = self.record(case_id)
        shape = record.grid.shape if file == REFERENCE else record.box.shape
        return blosc2_io.read_array(self.folder / CASES / case_id / file, record.content_hash, shape, box, rows)


def _load(file: Path) -> Any:
    """Return the content of a JSON file; DataError if it is none."""
    try:
        return json.loads(file.read_bytes())
    except (ValueError, RecursionError) as error:
        raise DataError(f"{file} is damaged; {_COMMAND}") from error


def shown_modalities(modalities: Sequence[str]) -> tuple[str, ...]:
    """Return what pictures show: T1ce, where tumors enhance, and FLAIR, where edema does; else the first modality."""
    return tuple(m for m in ("t1ce", "flair") if m in modalities) or (modalities[0],)


def stored_spacing_mm(record: CaseMetadata) -> tuple[float, float, float]:
    """Return the voxel edges of the stored region along the RAS+ axes."""
    from brats_ablate.data.nifti import Orientation

    if record.resampled_mm is not None:
        x, y, z = record.resampled_mm
    else:
        x, y, z = (record.grid.spacing_mm[axis] for axis in Orientation.of(np.asarray(record.grid.affine)).axes)
    return (x, y, z)


def slice_in_file(record: CaseMetadata, axis: int, index: int) -> str | None:
    """Return a slice of the stored region as the axis and voxel index of the case's files, such as "k = 81".

    The slice is orthogonal to the RAS+ `axis`. None for a resampled case, whose slices are not those of its files.
    """
    from brats_ablate.data.nifti import Orientation

    if record.resampled_mm is not None:
        return None
    orientation = Orientation.of(np.asarray(record.grid.affine))
    in_file, at = orientation.axes[axis], record.box.start[axis] + index
    return f"{'ijk'[in_file]} = {record.grid.shape[in_file] - 1 - at if orientation.flipped[axis] else at}"


def to_original_space(record: CaseMetadata, cropped: np.ndarray) -> np.ndarray:
    """Return (..., X, Y, Z) of the stored region on the original files' grid and axis order, 0 outside the region.

    Of a resampled case, floats are interpolated linearly and integers are labels; see `Resampling.labels_back`.

    Returns:
        (..., *record.grid.shape), C-contiguous, of `cropped`'s type. Write it with `record.grid.affine`.

    Raises:
        ValueError: `cropped` does not have the box's shape.
    """
    from brats_ablate.data.nifti import Orientation
    from brats_ablate.data.resampling import Resampling

    if cropped.shape[-3:] != record.box.shape:
        raise ValueError(f"{record.case_id}: shape {cropped.shape} differs from the box's {record.box.shape}")
    orientation = Orientation.of(np.asarray(record.grid.affine))
    original = np.zeros((*cropped.shape[:-3], *record.grid.shape), dtype=cropped.dtype)
    resampling = None if record.resampled_mm is None else Resampling.of(record.grid, record.resampled_mm)
    if resampling is None:
        orientation.to_ras(original)[(..., *record.box.slices)] = cropped
        return original
    for index in np.ndindex(cropped.shape[:-3]):
        stored = np.zeros(resampling.resampled, dtype=cropped.dtype)
        stored[record.box.slices] = cropped[index]
        back = resampling.values_back if stored.dtype.kind == "f" else resampling.labels_back
        orientation.to_ras(original)[index] = back(stored)
    return original


def to_stored_space(record: CaseMetadata, labels: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """Return a label map (X, Y, Z) with `affine`, on the original grid in any order of axes, in the stored region.

    Raises:
        ValueError: `labels` do not have the shape of the original grid.
    """
    from brats_ablate.data.nifti import Orientation
    from brats_ablate.data.resampling import Resampling

    original = Orientation.of(np.asarray(record.grid.affine))
    oriented = Orientation.of(affine).to_ras(labels)
    if oriented.shape != tuple(record.grid.shape[axis] for axis in original.axes):
        raise ValueError(f"{record.case_id}: shape {labels.shape} differs from the grid's {record.grid.shape}")
    resampling = None if record.resampled_mm is None else Resampling.of(record.grid, record.resampled_mm)
    return (oriented if resampling is None else resampling.labels(oriented))[record.box.slices]


def write_cohort(
    folder: Path, cohort: Cohort, records: Sequence[Mapping[str, Any]], validation: Sequence[Sequence[str]]
) -> None:
    """Write the index files for cases that are already in place; `cohort.json` last, as it marks completion.

    `validation` has the cases of each fold, as in `folds.json`.
    """
    lines = "".join(to_json(record, separators=(",", ":")) + "\n" for record in records)
    write_text(folder / RECORDS, lines)
    head = {
        "version": VERSION,
        "name": cohort.name,
        "layout": cohort.layout,
        "convention": cohort.labels.name,
        "labels": cohort.labels.to_dict(),
        "modalities": list(cohort.modalities),
        "fingerprint": cohort.fingerprint,
        "cases": dict(cohort.content_hashes),
        "records_sha256": hashlib.sha256(lines.encode()).hexdigest(),
        "folds_sha256": folds.fingerprint(validation),
    }
    if cohort.spacing is not None:
        head["spacing"] = list(cohort.spacing)
    write_json(folder / COHORT, head)


_COMMAND = "run job=prepare again, with the options of this data set"
