"""Synthetic cohort: phantom brains with tumors, written as NIfTI files in any layout and any label scheme.

It replaces a data set in demonstrations, tests and benchmarks, and is read like one. Each case is a pure function of
(seed, case number). Anatomy is coarse but behaves as in MRI: skull-stripped outline, folded cortex, ventricles and deep
gray matter with contrast per modality, bias field, Rician noise, bright vessels and white-matter lesions that are not
tumor. Tumors are irregular, of nested edema, enhancing rim and necrosis, and displace their surroundings.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np

from brats_ablate.cases import Shape3d
from brats_ablate.data.layouts import SEGMENTATION, Layout
from brats_ablate.errors import ConfigError, DataError
from brats_ablate.labels.scheme import LabelScheme
from brats_ablate.runtime import random
from brats_ablate.runtime.files import to_json

CASE_ID = "Phantom_%05d"
"""Of `data=phantom`. Versions before wrote ids like those of BraTS 2021."""
_SETTINGS_FILE = "phantom.json"
_AFFINE = np.diag([-1.0, -1.0, 1.0, 1.0])
"""LPS axes, 1 mm, as BraTS files."""

_TISSUE_VALUES = {
    # modality: CSF, gray matter, white matter, edema, necrosis, enhancing tumor
    "flair": (200, 590, 460, 830, 520, 720),
    "t1": (220, 500, 700, 500, 340, 490),
    "t1ce": (230, 520, 720, 510, 330, 1150),
    "t2": (1150, 690, 470, 850, 980, 720),
}
_CSF, _GRAY, _WHITE = range(3)
_HEALTHY, _EDEMA, _NECROSIS, _ENHANCING, _CAVITY = range(5)
"""Compartments of a lesion, from outside to inside."""
_VALUE_INDEX = {_EDEMA: 3, _NECROSIS: 4, _ENHANCING: 5, _CAVITY: _CSF}
_COMPARTMENT_OF = {
    **dict.fromkeys(("ED", "SNFH"), _EDEMA),
    **dict.fromkeys(("NCR", "NETC", "NET"), _NECROSIS),
    **dict.fromkeys(("ET", "GTV"), _ENHANCING),
    **dict.fromkeys(("RC", "CC"), _CAVITY),
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
        if unknown := [m for m in layout.modalities if m not in _TISSUE_VALUES]:
            raise ConfigError(f"data.phantom has no modality {unknown[0]}; it has {', '.join(_TISSUE_VALUES)}")
        if layout.is_numbered and layout.volumes is None:
            raise ConfigError("data.phantom writes no dataset.json; set data.layout.volumes to the modalities in order")
        for number in range(self.cases):
            case_id = self.case_id % number
            segmentation = _file(folder, layout, case_id, SEGMENTATION)
            files = {m: _file(folder, layout, case_id, m) for m in layout.volumes or layout.modalities}
            if all(path.exists() for path in (*files.values(), segmentation)):
                continue
            images, compartments = self.case(number, has_cavity=_CAVITY in _compartments(labels))
            of_modality = dict(zip(_TISSUE_VALUES, images, strict=True))
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
        field = _Fields(self.seed, number, (x, y, z))
        lesions = list(_lesions(field, several=number % 4 == 1))
        inward, brain, points = _outline(field, lesions)
        tissue = _anatomy(field, inward, points)
        compartments = np.zeros(field.shape, dtype=np.uint8)
        for k, lesion in enumerate(lesions):
            grown = _grow(field, k, lesion, inward, tissue, enhancing=number % 5 != 3)
            compartments = np.maximum(compartments, np.where(brain, grown, 0))
        if has_cavity:
            compartments[_cavity(compartments)] = _CAVITY
        return _images(field, tissue, compartments, brain, inward), compartments


def _file(folder: Path, layout: Layout, case_id: str, kind: str) -> Path:
    """Return the path of a modality or segmentation; a pattern without a folder lies in a folder of the case."""
    name = layout.file_name(case_id, kind)
    return folder / name if "/" in name else folder / case_id / name


def _compartments(labels: LabelScheme) -> list[int]:
    """Return the compartment of each tissue of a scheme, in its order."""
    in_turn = cycle((_EDEMA, _NECROSIS, _ENHANCING, _CAVITY))
    return [_COMPARTMENT_OF.get(tissue) or next(in_turn) for tissue in labels.tissues]


def _tissues(compartments: np.ndarray, labels: LabelScheme) -> np.ndarray:
    """Return the label map of a scheme, (X, Y, Z) uint8."""
    stored = {compartment: label for label, compartment in enumerate(_compartments(labels), start=1)}
    table = np.zeros(_CAVITY + 1, dtype=np.uint8)
    for compartment in (_CAVITY, _ENHANCING, _NECROSIS):
        inside = next((stored[c] for c in (_ENHANCING, _NECROSIS, _CAVITY) if c in stored), 0)
        table[compartment] = stored.get(compartment, inside)
    table[_EDEMA] = stored.get(_EDEMA, 0)
    encoded: np.ndarray = table[compartments]
    return encoded


def _cavity(compartments: np.ndarray) -> np.ndarray:
    """Return the inner part of the necrosis, (X, Y, Z) bool: what is two voxels or more away from other tissue."""
    from scipy.ndimage import binary_erosion

    necrosis: np.ndarray = compartments == _NECROSIS
    return np.asarray(binary_erosion(necrosis, iterations=2))


@dataclass(frozen=True)
class _Lesion:
    center: tuple[float, float, float]
    """In units of half the volume, as all coordinates here."""
    radius: float


class _Fields:
    """Coordinates and smooth random fields of one case. The names of the fields key their random streams."""

    def __init__(self, seed: int, number: int, shape: Shape3d) -> None:
        self.seed, self.number, self.shape = seed, number, shape
        self.axes = [np.linspace(-1, 1, s, dtype=np.float32) for s in shape]
        self.x, self.y, self.z = np.meshgrid(*self.axes, indexing="ij", sparse=True)

    def rng(self, name: str) -> np.random.Generator:
        return random.rng_for(self.seed, "phantom", self.number, name)

    def smooth(self, name: str, wavelength: float) -> np.ndarray:
        """Return a Gaussian random field of unit variance, (X, Y, Z) float32.

        White noise on a coarse grid is spread by Gaussian weights along one axis after the other. `wavelength` is in
        units of half the volume.
        """
        step = wavelength / 3
        count = int(np.ceil(2 / step)) + 7
        noise = self.rng(name).standard_normal((count, count, count), dtype=np.float32)
        nodes = (np.arange(count, dtype=np.float32) - (count - 1) / 2) * step
        for axis in self.axes:
            weights = np.exp(-0.5 * ((axis[:, None] - nodes) / step) ** 2)
            weights /= np.sqrt((weights**2).sum(axis=1, keepdims=True))
            # Contracting the first axis appends the new one: after three rounds the order is X, Y, Z again.
            noise = np.tensordot(noise, weights, axes=(0, 1))
        return noise


def _lesions(field: _Fields, *, several: bool) -> Iterator[_Lesion]:
    draw = field.rng("lesions")
    for k in range(int(draw.integers(2, 4)) if several else 1):
        direction = draw.standard_normal(3)
        direction /= np.linalg.norm(direction)
        center = direction * np.array([0.42, 0.55, 0.4]) * draw.uniform(0.55, 1.0)
        radius = draw.uniform(0.30, 0.46) if k == 0 else draw.uniform(0.14, 0.24)
        yield _Lesion((float(center[0]), float(center[1]), float(center[2]) + 0.08), float(radius))


def _outline(field: _Fields, lesions: list[_Lesion]) -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
    """Return depth below the brain's surface (negative outside), brain mask, and coordinates displaced by lesions."""
    points = [np.broadcast_to(p, field.shape).copy() for p in (field.x, field.y, field.z)]
    for lesion in lesions:
        offset = [p - c for p, c in zip((field.x, field.y, field.z), lesion.center, strict=True)]
        pull = 0.45 * np.exp(-sum(o**2 for o in offset) / (1.1 * lesion.radius) ** 2)
        for p, o in zip(points, offset, strict=True):
            p -= pull * o
    draw = field.rng("outline")
    size = draw.uniform(0.94, 1.04, 3)
    # Narrower in front, flatter below: an ellipsoid otherwise.
    width = 0.70 * size[0] * (1 + 0.10 * field.y)
    height = np.where(field.z < 0, 0.70, 0.84) * size[2]
    r = np.sqrt((field.x / width) ** 2 + (field.y / (0.88 * size[1])) ** 2 + (field.z / height) ** 2)
    r += 0.025 * field.smooth("outline", 0.6)
    inward = (1 - r).astype(np.float32)
    return inward, inward > 0, points


def _anatomy(field: _Fields, inward: np.ndarray, points: list[np.ndarray]) -> np.ndarray:
    """Return the membership of CSF, gray and white matter, (3, X, Y, Z) float32 summing to 1, soft at the borders."""
    x, y, z = points
    draw = field.rng("anatomy")
    folds = field.smooth("folds", 0.20) + 0.5 * field.smooth("folds of folds", 0.12)
    # Sulci are thin sheets where the folding field crosses zero, cut from the surface to a limited depth.
    sulci = np.exp(-((folds / 0.30) ** 2)) * np.clip(1 - inward / 0.46, 0, 1)
    fissure = np.exp(-((x / 0.022) ** 2)) * (z > -0.25) * np.clip(1 - inward / 0.75, 0, 1)
    level = inward - 0.27 * sulci - 0.30 * fissure + 0.015 * folds
    csf = _soft(0.02 - level, 0.010)
    gray = _soft(0.14 - level, 0.018)

    widen = draw.uniform(0.8, 1.5)
    for side in (-1.0, 1.0):
        bend = 0.13 + 0.10 * np.clip(-y, 0, 1)
        horn = ((x - side * bend) / (0.060 * widen)) ** 2 + ((y + 0.05) / 0.40) ** 2
        csf = np.maximum(csf, _soft(1 - horn - ((z - 0.12 + 0.25 * y**2) / (0.11 * widen)) ** 2, 0.15))
        nucleus = ((x - side * 0.26) / 0.085) ** 2 + ((y - 0.02) / 0.22) ** 2 + ((z - 0.0) / 0.16) ** 2
        gray = np.maximum(gray, 0.8 * _soft(1 - nucleus, 0.2))
    third = (x / 0.022) ** 2 + ((y + 0.02) / 0.16) ** 2 + ((z + 0.06) / 0.14) ** 2
    csf = np.maximum(csf, _soft(1 - third, 0.3))
    gray = np.maximum(gray - csf, 0)
    return np.stack([csf, gray, np.clip(1 - csf - gray, 0, 1)]).astype(np.float32)


def _grow(
    field: _Fields, k: int, lesion: _Lesion, inward: np.ndarray, tissue: np.ndarray, *, enhancing: bool
) -> np.ndarray:
    """Return the compartments of one lesion: edema that prefers white matter, a core in it, necrosis in a rim of ET."""
    draw = field.rng(f"lesion {k}")
    stretch = np.exp(draw.uniform(-0.22, 0.22, 3))
    parts = zip((field.x, field.y, field.z), lesion.center, stretch, strict=True)
    rho = np.sqrt(sum(((p - c) * s) ** 2 for p, c, s in parts)) / lesion.radius
    wave = lesion.radius
    rough = rho + 0.16 * field.smooth(f"oedema {k}", 1.3 * wave) + 0.06 * field.smooth(f"oedema fringe {k}", 0.5 * wave)
    edema = rough + 0.5 * tissue[_GRAY] + 0.9 * tissue[_CSF] < 1.0
    extent = draw.uniform(0.50, 0.68)
    surface = rho + 0.14 * field.smooth(f"core {k}", 0.9 * wave) + 0.04 * field.smooth(f"core fringe {k}", 0.4 * wave)
    core = surface < extent
    rim = draw.uniform(0.14, 0.24) * (1 + 0.35 * field.smooth(f"rim {k}", 0.8 * wave))
    necrosis = surface < extent - np.maximum(rim, 0.05) if enhancing else core
    compartments = np.where(edema, _EDEMA, _HEALTHY)
    compartments = np.where(core, _ENHANCING, compartments)
    compartments = np.where(necrosis, _NECROSIS, compartments)
    return np.where(inward > 0.02, compartments, _HEALTHY).astype(np.uint8)


def _images(
    field: _Fields, tissue: np.ndarray, compartments: np.ndarray, brain: np.ndarray, inward: np.ndarray
) -> np.ndarray:
    """Return the signal of each modality from the tissues: (4, X, Y, Z) int16."""
    from scipy.ndimage import gaussian_filter

    draw = field.rng("contrast")
    # Partial volume blurs by half a voxel; infiltration makes the border of edema vaguer than the rim's.
    present = (*(_EDEMA, _NECROSIS, _ENHANCING), *((_CAVITY,) if (compartments == _CAVITY).any() else ()))
    lesion = {k: gaussian_filter((compartments == k).astype(np.float32), 1.1 if k == _EDEMA else 0.6) for k in present}
    healthy = np.clip(1 - sum(lesion.values()), 0, 1)
    vessels = np.exp(-((field.smooth("vessels a", 0.25) / 0.10) ** 2 + (field.smooth("vessels b", 0.25) / 0.10) ** 2))
    spots = _soft(field.smooth("white matter lesions", 0.16) - 2.3, 0.15) * tissue[_WHITE] * (inward > 0.25)
    texture = field.smooth("texture", 0.07)
    conspicuity = {k: draw.uniform(0.65, 1.1) for k in present}

    images = []
    for modality in _TISSUE_VALUES:
        values = np.array(_TISSUE_VALUES[modality], dtype=np.float32) * draw.uniform(0.94, 1.06, 6).astype(np.float32)
        normal = np.tensordot(values[:3], tissue, axes=(0, 0))
        signal = healthy * normal
        for k, weight in lesion.items():
            # A tumor of low conspicuity resembles the tissue that it replaced.
            signal += weight * (values[_WHITE] + conspicuity[k] * (values[_VALUE_INDEX[k]] - values[_WHITE]))
        if modality == "t1ce":
            signal += 420 * vessels * healthy
        if modality in ("flair", "t2"):
            signal += 240 * spots * healthy
        uneven = 0.06 * field.smooth(f"tumour texture {modality}", 0.12) * (1 - healthy)
        bias = np.exp(0.10 * field.smooth(f"bias {modality}", 1.6))
        signal *= bias * (1 + 0.02 * texture + uneven)
        noise = field.rng(f"noise {modality}").standard_normal((2, *field.shape), dtype=np.float32) * 24
        signal = np.hypot(signal + noise[0], noise[1]) * draw.uniform(0.7, 1.5)
        images.append(np.where(brain, np.maximum(np.rint(signal), 1), 0).astype(np.int16))
    return np.stack(images)


def _soft(value: np.ndarray, width: float) -> np.ndarray:
    """Return a smooth step from 0 to 1, about 4 × `width` wide."""
    return 0.5 * (1 + np.tanh(value / (2 * width)))
