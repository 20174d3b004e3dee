"""One folder of predictions: label files, on request the probabilities they were made of, and what made them.

Written by `job=predict`, read by `tune`, `evaluate`, `rank` and `pictures`. `predictions.json` says which members,
window, thresholds and post-processing made it; a second call with others is refused, with the same ones continued.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from brats_ablate.errors import DataError, RunFailed
from brats_ablate.runs.identity import differences
from brats_ablate.runs.renamed import with_current_names
from brats_ablate.runtime.files import write_json

if TYPE_CHECKING:
    import numpy as np

    from brats_ablate.cases import CaseMetadata

MANIFEST = "predictions.json"
CROSS_VALIDATED = "prepared, each case by the models that did not train on it"


class PredictionFolder:
    """`predictions/<name>/`."""

    def __init__(self, path: Path) -> None:
        self.path = Path(path)

    def manifest(self) -> dict[str, dict[str, Any]]:
        """{"probabilities": what made these, "labels": what made the labels}; {} where `job=predict` wrote nothing."""
        file = self.path / MANIFEST
        return json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}

    def claim(self, manifest: Mapping[str, Mapping[str, Any]]) -> None:
        """Put on record what this folder holds.

        Raises:
            RunFailed: it holds something else; names what differs.
        """
        recorded = with_current_names(self.manifest())
        wanted = json.loads(json.dumps(manifest))
        if recorded and recorded != wanted:
            shown = "; ".join(_differences(recorded, wanted)[:5])
            raise RunFailed(
                f"{self.path} holds other predictions ({shown}); give job.output=<another name>, or delete it"
            )
        if not recorded:
            write_json(self.path / MANIFEST, wanted)

    def label_file(self, case_id: str) -> Path:
        return self.path / f"{case_id}.nii.gz"

    def has_probabilities(self, case_id: str) -> bool:
        return self._probabilities(case_id).exists()

    def save_probabilities(self, record: CaseMetadata, probabilities: np.ndarray) -> None:
        """Save (3, X, Y, Z) float16 of the cropped volume, compressed, with the way back to the original grid."""
        from brats_ablate.data.blosc2_io import write_array
        from brats_ablate.data.records import to_json
        from brats_ablate.runtime.files import atomic_write

        write_json(self._record(record.case_id), to_json(record))
        with atomic_write(self._probabilities(record.case_id)) as temporary:
            write_array(temporary, probabilities, self._content())

    def read_probabilities(self, case_id: str) -> tuple[np.ndarray, CaseMetadata]:
        """What `save_probabilities` saved.

        Raises:
            DataError: they were not saved, or belong to other predictions.
        """
        from brats_ablate.data.blosc2_io import read_array
        from brats_ablate.data.records import from_json

        if not self.has_probabilities(case_id):
            raise DataError(f"{self.path} holds no probabilities of {case_id}; predict with job.probabilities=true")
        record = from_json(json.loads(self._record(case_id).read_text(encoding="utf-8")))
        return read_array(self._probabilities(case_id), self._content()), record

    def _probabilities(self, case_id: str) -> Path:
        return self.path / "probabilities" / f"{case_id}.b2nd"

    def _record(self, case_id: str) -> Path:
        return self.path / "probabilities" / f"{case_id}.json"

    def _content(self) -> str:
        made_by = json.dumps(self.manifest().get("probabilities"), sort_keys=True)
        return hashlib.sha256(made_by.encode()).hexdigest()


def find_label_files(folder: Path) -> dict[str, Path]:
    """Case id -> label file, for a folder of `job=predict` or of any other program.

    A file is named after its case, with an ending `_seg`, `-seg`, `_pred` or none: `<case>.nii.gz`. Subfolders are
    searched, hidden files left out; image files of the BraTS layouts are no labels.

    Raises:
        DataError: there is no folder, no label file, or two of one case.
    """
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder of label files; predict first, or check the path")
    found: dict[str, Path] = {}
    for file in sorted(f for pattern in ("*.nii", "*.nii.gz") for f in folder.rglob(pattern)):
        name = file.name.removesuffix(".gz").removesuffix(".nii")
        if name.startswith(".") or any(name.endswith(ending) for ending in _IMAGES):
            continue
        case_id = next((name.removesuffix(ending) for ending in _LABELS if name.endswith(ending)), name)
        if case_id in found:
            raise DataError(
                f"{folder} holds two label files of {case_id} ({found[case_id].name}, {file.name}); remove one"
            )
        found[case_id] = file
    if not found:
        raise DataError(f"{folder} holds no label file (<case>.nii.gz); predict first, or check the path")
    return found


_LABELS = ("_seg", "-seg", "_pred")
_IMAGES = ("_flair", "_t1", "_t1ce", "_t1gd", "_t2", "-t2f", "-t1n", "-t1c", "-t2w")


def _differences(recorded: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    halves = sorted(recorded.keys() | wanted.keys())
    return [d for half in halves for d in differences(recorded.get(half) or {}, wanted.get(half) or {})]
