"""One folder of predictions: label files, a manifest, and on request probabilities and maps of disagreement.

Written by `job=predict`, read by `tune`, `evaluate`, `rank` and `pictures`. The manifest `predictions.json` records
members, window, thresholds and post-processing. A second call with the same settings continues; with different settings
it is refused.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from brats_ablate.cases import CaseMetadata
from brats_ablate.data.blosc2_io import read_array, write_array
from brats_ablate.data.folders import stem, walk
from brats_ablate.data.layouts import Layout
from brats_ablate.errors import ConfigError, DataError, RunFailed
from brats_ablate.runs.identity import differences
from brats_ablate.runs.renamed import with_current_names
from brats_ablate.runtime.files import atomic_write, read_json, to_json, write_json

MANIFEST = "predictions.json"
_CHECKSUM = "probabilities_sha256"
LATER_PARTS = ("reading", "imported", "trained_on", "folds")
"""Parts of a manifest that earlier versions did not record."""
_DISAGREEMENT = "disagreement"


class CasePrediction(NamedTuple):
    """What an ensemble returns of one case, in the cropped volume."""

    probabilities: np.ndarray
    """(R, X, Y, Z) float16; float32 for a rule of labels with `full_precision`."""
    record: CaseMetadata
    disagreement: np.ndarray | None = None
    """(X, Y, Z) float32, if it was asked for; see `inference.disagreement`."""


class PredictionFolder:
    """`predictions/<name>/`."""

    def __init__(self, path: Path) -> None:
        self.path = Path(path)

    def manifest(self) -> dict[str, dict[str, Any]]:
        """Read the provenance of "probabilities" and "labels"; {} for a folder that `job=predict` did not write."""
        return read_json(self.path / MANIFEST)

    def write_or_verify_manifest(self, manifest: Mapping[str, Mapping[str, Any]]) -> None:
        """Record the provenance of this folder's predictions, or check that it is recorded already.

        `LATER_PARTS` of it are compared only with those that are recorded.

        Raises:
            RunFailed: a different provenance is recorded, with its differences; or another program wrote label files.
        """
        has_files = any(not file.name.startswith(".") for file in self.path.glob("*.nii.gz"))
        recorded = with_current_names(self.manifest())  # after the files, as another shard writes it before its own
        current = json.loads(to_json(manifest))
        if recorded:
            current = {part: current[part] for part in current if part in recorded or part not in LATER_PARTS}
        if recorded and recorded != current:
            parts = sorted(recorded.keys() | current.keys())
            changes = [d for p in parts for d in differences(recorded.get(p) or {}, current.get(p) or {})]
            details = "; ".join(changes[:5])
            raise RunFailed(
                f"{self.path} contains different predictions ({details}); set job.output=<another name>, or delete it"
            )
        if has_files and not recorded:
            raise RunFailed(
                f"{self.path} contains label files that job=predict did not write; set job.output=<another name>"
            )
        if not recorded:
            write_json(self.path / MANIFEST, current)

    def label_file(self, case_id: str) -> Path:
        """Return the path of a case's label file."""
        return self.path / f"{case_id}.nii.gz"

    def disagreement_file(self, case_id: str) -> Path:
        """Return the path of a case's map of disagreement."""
        return self.path / _DISAGREEMENT / f"{case_id}.nii.gz"

    def remove_outdated(self, case_id: str, sources: Iterable[Path]) -> None:
        """Remove what is saved of a case if one of its source files is newer than its label file."""
        label = self.label_file(case_id)
        if label.exists() and any(file.stat().st_mtime_ns > label.stat().st_mtime_ns for file in sources):
            saved = (self._saved(case_id, ending) for ending in ("b2nd", "json"))
            for file in (*saved, self.disagreement_file(case_id), label):
                file.unlink(missing_ok=True)

    def has_probabilities(self, case_id: str) -> bool:
        """Return whether a case's probabilities are saved, with its metadata."""
        return all(self._saved(case_id, ending).exists() for ending in ("b2nd", "json"))

    def save_probabilities(self, record: CaseMetadata, probabilities: np.ndarray) -> None:
        """Save (R, X, Y, Z) of the cropped volume as float16, compressed, with the case's metadata."""
        probabilities = probabilities.astype(np.float16, copy=False)
        checksum = {_CHECKSUM: hashlib.sha256(np.ascontiguousarray(probabilities).data).hexdigest()}
        write_json(self._saved(record.case_id, "json"), record.to_dict() | checksum)
        with atomic_write(self._saved(record.case_id, "b2nd")) as temporary:
            write_array(temporary, probabilities, self._content_hash())

    def read_probabilities(self, case_id: str) -> tuple[np.ndarray, CaseMetadata]:
        """Read the probabilities and the metadata that `save_probabilities` saved.

        Raises:
            DataError: they were not saved, belong to different predictions, or are damaged.
        """
        if not self.has_probabilities(case_id):
            raise DataError(f"{self.path} contains no probabilities of {case_id}; predict with job.probabilities=true")
        file, metadata = self._saved(case_id, "b2nd"), self._saved(case_id, "json")
        try:
            saved = json.loads(metadata.read_bytes())
            record = CaseMetadata.from_dict(saved)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise DataError(f"{metadata} is damaged; delete it and run the job=predict that wrote it again") from error
        probabilities = read_array(file, self._content_hash(), record.box.shape)
        checksum = saved.get(_CHECKSUM)  # None in folders of version 0.1
        if checksum not in (None, hashlib.sha256(probabilities.data).hexdigest()):
            raise DataError(f"{file} is damaged; delete it and run the job=predict that wrote it again")
        return probabilities, record

    def _saved(self, case_id: str, ending: str) -> Path:
        return self.path / "probabilities" / f"{case_id}.{ending}"

    def _content_hash(self) -> str:
        provenance = to_json(self.manifest().get("probabilities"), sort_keys=True)
        return hashlib.sha256(provenance.encode()).hexdigest()


def find_label_files(folder: Path, layout: Layout | None = None, known: Collection[str] = ()) -> dict[str, Path]:
    """Return case id -> label file for a folder of `job=predict`, of any other program, or of a data set.

    A file is named as a segmentation of `layout`, or after its case, with an ending `_seg`, `-seg`, `_pred` or none:
    `<case>.nii.gz`. Subfolders are searched. Hidden files, images of `layout` and of BraTS, and maps of disagreement of
    `job=predict` are skipped. Case ids can end as names of images do (`P01_t1`), so a file named as one of the `known`
    ids is a label file, and so is every file next to a manifest of `job=predict`, which names them by the id alone.

    Raises:
        ConfigError: there is no such folder.
        DataError: it contains no label file, or two of one case.
    """
    if not folder.is_dir():
        raise ConfigError(f"{folder} is not a folder of label files; predict first, or check the path")
    found = [(where, volumes) for where, _, volumes in walk(folder) if not _holds_disagreement(where)]
    written = {where for where, _ in found if (where / MANIFEST).exists()}
    named = [(where / name, file) for where, volumes in found for name, file in volumes.items()]
    if layout is not None and layout.images == "{case}":  # an image, unless it is the case's only file
        segmented = {layout.case_of(path, layout.segmentations) for path, _ in named}
        named = [(path, file) for path, file in named if stem(path.name) not in segmented]
    files: dict[str, Path] = {}
    for path, file in named:
        name = stem(path.name)
        case_id = name if path.parent in written or name in known else _case_of(path, layout)
        if case_id is None:
            continue
        if case_id in files:
            both = ", ".join(os.path.relpath(path, folder) for path in (files[case_id], file))
            raise DataError(f"{folder} contains two label files of {case_id} ({both}); give a folder with only one")
        files[case_id] = file
    if not files:
        raise DataError(f"{folder} contains no label file (<case>.nii.gz); predict first, or check the path")
    return files


def _holds_disagreement(folder: Path) -> bool:
    """Return whether a folder is that of the maps in a folder that `job=predict` wrote."""
    folder = folder.absolute()
    return folder.name == _DISAGREEMENT and (folder.parent / MANIFEST).exists()


_LABELS = ("_seg", "-seg", "_pred")
_IMAGES = ("_flair", "_t1", "_t1ce", "_t1gd", "_t2", "-t2f", "-t1n", "-t1c", "-t2w")


def _case_of(file: Path, layout: Layout | None) -> str | None:
    """Return the case of a label file; None for an image."""
    if layout is not None and (case_id := layout.case_of(file, layout.segmentations)) is not None:
        return case_id
    name = stem(file.name)
    has_own_images = layout is not None and layout.images != "{case}"  # that is a name of label files, too
    if name.endswith(_IMAGES) or (layout and has_own_images and layout.case_of(file, layout.images) is not None):
        return None
    return next((name.removesuffix(ending) for ending in _LABELS if name.endswith(ending)), name)
