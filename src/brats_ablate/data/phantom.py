"""Synthetic cohort: phantom brains with tumors, written as NIfTI files in any layout and any label scheme.

It replaces a data set in demonstrations, tests and benchmarks, and is read like one. Each case is a pure function of
(seed, case number), which `phantom_anatomy` draws.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np

from brats_ablate.data.layouts import SEGMENTATION, Layout
from brats_ablate.data.phantom_anatomy import CAVITY, EDEMA, ENHANCING, NECROSIS, TISSUE_VALUES, draw_case
from brats_ablate.errors import ConfigError, DataError
from brats_ablate.labels.scheme import LabelScheme
from brats_ablate.runtime.files import to_json

CASE_ID = "Phantom_%05d"
"""Of `data=phantom`. Versions before wrote ids like those of BraTS 2021."""
_SETTINGS_FILE = "phantom.json"
_AFFINE = np.diag([-1.0, -1.0, 1.0, 1.0])
"""LPS axes, 1 mm, as BraTS files."""

_COMPARTMENT_OF = {
    **dict.fromkeys(("ED", "SNFH"), EDEMA),
    **dict.fromkeys(("NCR", "NETC", "NET"), NECROSIS),
    **dict.fromkeys(("ET", "GTV"), ENHANCING),
    **dict.fromkeys(("RC", "CC"), CAVITY),
}
"""By the tissues' names in the public schemes; tissues of other names take the compartments in turn."""


@dataclass(frozen=True)
class PhantomCohort:
    """A deterministic cohort. Every fifth case has no enhancing tumor; every fourth has several lesions.

    Args:
        cases: how many.
        shape: voxels of every volume, 1 mm each; at least 24 per axis. BraTS has [240, 240, 155].
        seed: of everything drawn.
        case_id: pattern of the ids, with a printf format for the number, as the layout's `case` expects them; by
            default that of version 0.1.
    """

    cases: int
    shape: list[int]
    seed: int
    case_id: str = "BraTS2021_%05d"

    def __post_init__(self) -> None:
        if self.cases < 1:
            raise ConfigError(f"data.phantom.cases={self.cases} must be at least 1")
        if len(self.shape) != 3 or min(self.shape) < 24:
            raise ConfigError(f"data.phantom.shape={list(self.shape)} must be three numbers of at least 24")

    def write(self, folder: Path, layout: Layout, labels: LabelScheme) -> None:
        """Write the cohort below `folder` in a layout (`conf/data/layout`) and a label scheme; existing cases are kept.

        A folder that an earlier version wrote keeps the ids of that version, and so its prepared cohort and runs.
        A compartment that the scheme has no tissue for belongs to the next one inside it, edema to the background.

        Raises:
            DataError: `folder` contains something else, or a phantom with different settings.
        """
        from brats_ablate.data import nifti

        folder.mkdir(parents=True, exist_ok=True)
        settings = to_json(self._settings(layout, labels)) + "\n"
        file = folder / _SETTINGS_FILE
        if file.exists():
            recorded = file.read_text(encoding="utf-8")
            earlier = replace(self, case_id=PhantomCohort.case_id)
            if self.case_id == CASE_ID and recorded == to_json(earlier._settings(layout, labels)) + "\n":
                earlier.write(folder, layout, labels)
                return
            if recorded != settings:
                raise DataError(
                    f"{folder} contains a phantom with different settings; delete it, or choose another data.name"
                )
        elif any(folder.iterdir()):
            raise DataError(f"{folder} is not empty and contains no phantom; point data.raw at a new folder")
        else:
            file.write_text(settings, encoding="utf-8")
        if unknown := [m for m in layout.modalities if m not in TISSUE_VALUES]:
            raise ConfigError(f"data.phantom has no modality {unknown[0]}; it has {', '.join(TISSUE_VALUES)}")
        if layout.is_numbered and layout.volumes is None:
            raise ConfigError("data.phantom writes no dataset.json; set data.layout.volumes to the modalities in order")
        for number in range(self.cases):
            case_id = self.case_id % number
            segmentation = _file(folder, layout, case_id, SEGMENTATION)
            files = {m: _file(folder, layout, case_id, m) for m in layout.volumes or layout.modalities}
            if all(path.exists() for path in (*files.values(), segmentation)):
                continue
            images, compartments = self.case(number, has_cavity=CAVITY in _compartments(labels))
            of_modality = dict(zip(TISSUE_VALUES, images, strict=True))
            for path in dict.fromkeys(files.values()):
                path.parent.mkdir(parents=True, exist_ok=True)
                volumes = [of_modality[m] for m, file in files.items() if file == path]
                is_3d = not layout.is_4d
                nifti.write_volume(path, volumes[0] if is_3d else np.stack(volumes, axis=-1), _AFFINE)
            segmentation.parent.mkdir(parents=True, exist_ok=True)
            nifti.write_labels(segmentation, labels.decode(_tissues(compartments, labels)), _AFFINE)

    def _settings(self, layout: Layout, labels: LabelScheme) -> dict[str, Any]:
        """Return what identifies the files; what version 0.1 could not choose only where it differs from that."""
        settings: dict[str, Any] = asdict(self)
        if self.case_id == PhantomCohort.case_id:
            del settings["case_id"]
        if layout.name != "brats2021" or labels.key != "brats2021":
            settings |= {"layout": layout.name, "labels": labels.key}
        volumes = list(layout.volumes or layout.modalities)
        if layout.is_4d and volumes != list(layout.modalities):
            settings |= {"volumes": volumes}  # which an earlier version wrote in the order of the modalities
        return settings

    def case(self, number: int, *, has_cavity: bool = False) -> tuple[np.ndarray, np.ndarray]:
        """Return one case: images (4, X, Y, Z) int16, LPS axes, 0 outside the brain, and labels (X, Y, Z) uint8.

        The labels are 1 edema, 2 necrosis, 3 enhancing tumor, and 4 for a cavity inside the necrosis.
        """
        x, y, z = self.shape
        return draw_case(self.seed, number, (x, y, z), has_cavity=has_cavity)


def _file(folder: Path, layout: Layout, case_id: str, kind: str) -> Path:
    """Return the path of a modality or segmentation; a pattern without a folder lies in a folder of the case."""
    name = layout.file_name(case_id, kind)
    return folder / name if "/" in name else folder / case_id / name


def _compartments(labels: LabelScheme) -> list[int]:
    """Return the compartment of each tissue of a scheme, in its order."""
    in_turn = cycle((EDEMA, NECROSIS, ENHANCING, CAVITY))
    return [_COMPARTMENT_OF.get(tissue) or next(in_turn) for tissue in labels.tissues]


def _tissues(compartments: np.ndarray, labels: LabelScheme) -> np.ndarray:
    """Return the label map of a scheme, (X, Y, Z) uint8."""
    stored = {compartment: label for label, compartment in enumerate(_compartments(labels), start=1)}
    table = np.zeros(CAVITY + 1, dtype=np.uint8)
    for compartment in (CAVITY, ENHANCING, NECROSIS):
        inside = next((stored[c] for c in (ENHANCING, NECROSIS, CAVITY) if c in stored), 0)
        table[compartment] = stored.get(compartment, inside)
    table[EDEMA] = stored.get(EDEMA, 0)
    encoded: np.ndarray = table[compartments]
    return encoded
