"""The prepared store: what `job=prepare` leaves and every later job reads.

`cohort.json` (what the cohort is, its fingerprint, the cases in order), `records.jsonl` (one record a line, in that
order, parsed only when asked for: 1,251 cases open in milliseconds), `folds.json` (frozen) and
`cases/<id>/{case.json,images.b2nd,labels.b2nd}`.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from brats_ablate.cases import BBox, CaseMetadata
from brats_ablate.data import blosc2_io, records
from brats_ablate.errors import DataError
from brats_ablate.labels import MODALITIES
from brats_ablate.runtime.files import atomic_write

VERSION = 1
"""Of the store's files; cases of another version are prepared again."""

COHORT, RECORDS, FOLDS, CASES = "cohort.json", "records.jsonl", "folds.json", "cases"


@dataclass(frozen=True)
class Cohort:
    """The head of a store: cases in sorted order with the content hash of each."""

    name: str
    layout: str
    convention: str
    contents: Mapping[str, str]

    @property
    def fingerprint(self) -> str:
        """sha256 of the format, the declared layout and convention, the channel order, and every case's content."""
        head = [VERSION, self.layout, self.convention, list(MODALITIES), sorted(self.contents.items())]
        return hashlib.sha256(json.dumps(head).encode()).hexdigest()


class CaseStore:
    """A prepared cohort, read-only; safe to share between threads.

    Args:
        folder: what `paths.prepared` names.

    Raises:
        DataError: the folder is not prepared, not by this version, or its cases are not those of its fingerprint.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)
        try:
            head = json.loads((self.folder / COHORT).read_bytes())
            self._lines = (self.folder / RECORDS).read_bytes().splitlines()
            self._records: dict[str, CaseMetadata] = {}
            self.folds_drawn: list[list[str]] = json.loads((self.folder / FOLDS).read_bytes())["validation"]
            present = {entry.name for entry in os.scandir(self.folder / CASES)}
        except (FileNotFoundError, NotADirectoryError, ValueError) as error:
            raise DataError(f"{self.folder} is not prepared; {_COMMAND}") from error
        if head["version"] != VERSION or head["modalities"] != list(MODALITIES):
            raise DataError(f"{self.folder} was prepared by another version of this program; {_COMMAND}")
        self._cohort = Cohort(head["name"], head["layout"], head["convention"], head["cases"])
        self._row = {case_id: i for i, case_id in enumerate(head["cases"])}
        missing = [c for c in head["cases"] if c not in present]
        if missing:
            raise DataError(f"{self.folder} has lost {len(missing)} of its cases ({missing[0]}, …); {_COMMAND}")
        if self._cohort.fingerprint != head["fingerprint"] or len(self._lines) != len(self._row):
            raise DataError(f"{self.folder}: its cases are not those of its fingerprint; {_COMMAND}")

    @property
    def name(self) -> str:
        return self._cohort.name

    @property
    def layout(self) -> str:
        return self._cohort.layout

    @property
    def convention(self) -> str:
        """The label convention of the raw files, a key of `labels.CONVENTIONS`; stored labels are nesting depths."""
        return self._cohort.convention

    @cached_property
    def fingerprint(self) -> str:
        return self._cohort.fingerprint

    @property
    def case_ids(self) -> list[str]:
        """All cases, sorted."""
        return list(self._row)

    @cached_property
    def folds(self) -> list[list[str]]:
        """Validation ids of each fold. Folds are drawn over the ids found at preparation; unfit ones are left out here,
        so that mending a case later moves no other case to another fold."""
        return [[c for c in fold if c in self._row] for fold in self.folds_drawn]

    def split(self, fold: int) -> tuple[list[str], list[str]]:
        """Training and validation ids of one fold: training ids are those of all other folds, sorted."""
        training = sorted(c for i, ids in enumerate(self.folds) if i != fold for c in ids)
        return training, self.folds[fold]

    def record(self, case_id: str) -> CaseMetadata:
        """The record of a case; DataError if the cohort has no such case."""
        if case_id not in self._row:
            raise DataError(f"{self.folder} holds no case {case_id!r}; check the id")
        if case_id not in self._records:
            self._records[case_id] = records.from_json(json.loads(self._lines[self._row[case_id]]))
        return self._records[case_id]

    def read_images(self, case_id: str, box: BBox | None = None) -> np.ndarray:
        """Raw values, (4, X, Y, Z) int16 or float32 in `labels.MODALITIES` order, whole or inside `box`.

        `box` is in cropped coordinates and must lie inside the volume. Raises DataError if the file is not sound.
        """
        return self._read(case_id, "images.b2nd", box)

    def read_labels(self, case_id: str, box: BBox | None = None) -> np.ndarray:
        """Nesting depths, (X, Y, Z) uint8, whole or inside `box`; DataError if the case has no segmentation."""
        if not self.record(case_id).has_labels:
            raise DataError(f"case {case_id} has no segmentation; train and evaluate need one")
        return self._read(case_id, "labels.b2nd", box)

    def _read(self, case_id: str, file: str, box: BBox | None) -> np.ndarray:
        return blosc2_io.read_array(self.folder / CASES / case_id / file, self.record(case_id).content, box)


def to_original_space(record: CaseMetadata, cropped: np.ndarray, outside: float = 0) -> np.ndarray:
    """A volume of the stored region, back on the original files' grid and axis order.

    Args:
        record: of the case.
        cropped: (..., X, Y, Z), spatial shape `record.box.shape`.
        outside: the value beyond the box.

    Returns:
        (..., *record.grid.shape), C-contiguous, of `cropped`'s type. Write it with `record.grid.affine`.

    Raises:
        ValueError: `cropped` has not the box's shape.
    """
    from brats_ablate.data.orientation import Orientation

    if cropped.shape[-3:] != record.box.shape:
        raise ValueError(f"{record.case_id}: shape {cropped.shape} is not the box's {record.box.shape}")
    orientation = Orientation.of(np.asarray(record.grid.affine))
    restored = np.full((*cropped.shape[:-3], *record.grid.shape), outside, dtype=cropped.dtype)
    inside = (..., *record.box.slices)
    orientation.to_ras(restored)[inside] = cropped
    return restored


def write_cohort(folder: Path, cohort: Cohort, case_records: Sequence[Mapping[str, Any]]) -> None:
    """Write the index files for cases that are already in place; `cohort.json` last, as the sign of completion."""
    lines = "".join(json.dumps(r, separators=(",", ":")) + "\n" for r in case_records)
    replace_file(folder / RECORDS, lines)
    head = {
        "version": VERSION,
        "name": cohort.name,
        "layout": cohort.layout,
        "convention": cohort.convention,
        "modalities": list(MODALITIES),
        "fingerprint": cohort.fingerprint,
        "cases": dict(cohort.contents),
    }
    replace_file(folder / COHORT, json.dumps(head, indent=1) + "\n")


def replace_file(path: Path, text: str) -> None:
    """Write a text file, whole or not at all."""
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


_COMMAND = "run `python -m brats_ablate job=prepare data.raw=<folder of the data set>` with the same data option"
