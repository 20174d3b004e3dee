"""Anatomy and images of a phantom case, each a pure function of (seed, case number).

Anatomy is coarse but behaves as in MRI: skull-stripped outline, folded cortex, ventricles and deep gray matter with
contrast per modality, bias field, Rician noise, bright vessels and white-matter lesions that are not tumor. Tumors are
irregular, of nested edema, enhancing rim and necrosis, and displace their surroundings.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from brats_ablate.cases import Shape3d
from brats_ablate.runtime import random

TISSUE_VALUES = {
    # modality: CSF, gray matter, white matter, edema, necrosis, enhancing tumor
    "flair": (200, 590, 460, 830, 520, 720),
    "t1": (220, 500, 700, 500, 340, 490),
    "t1ce": (230, 520, 720, 510, 330, 1150),
    "t2": (1150, 690, 470, 850, 980, 720),
}
_CSF, _GRAY, _WHITE = range(3)
_HEALTHY, EDEMA, NECROSIS, ENHANCING, CAVITY = range(5)
"""Compartments of a lesion, from outside to inside."""
_VALUE_INDEX = {EDEMA: 3, NECROSIS: 4, ENHANCING: 5, CAVITY: _CSF}


def draw_case(seed: int, number: int, shape: Shape3d, *, has_cavity: bool) -> tuple[np.ndarray, np.ndarray]:
    """Return images and labels as `PhantomCohort.case`."""
    field = _Fields(seed, number, shape)
    lesions = list(_lesions(field, several=number % 4 == 1))
    inward, brain, points = _outline(field, lesions)
    tissue = _anatomy(field, inward, points)
    compartments = np.zeros(field.shape, dtype=np.uint8)
    for k, lesion in enumerate(lesions):
        grown = _grow(field, k, lesion, inward, tissue, enhancing=number % 5 != 3)
        compartments = np.maximum(compartments, np.where(brain, grown, 0))
    if has_cavity:
        compartments[_cavity(compartments)] = CAVITY
    return _images(field, tissue, compartments, brain, inward), compartments


def _cavity(compartments: np.ndarray) -> np.ndarray:
    """Return the inner part of the necrosis, (X, Y, Z) bool: what is two voxels or more away from other tissue."""
    from scipy.ndimage import binary_erosion

    necrosis: np.ndarray = compartments == NECROSIS
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
    compartments = np.where(edema, EDEMA, _HEALTHY)
    compartments = np.where(core, ENHANCING, compartments)
    compartments = np.where(necrosis, NECROSIS, compartments)
    return np.where(inward > 0.02, compartments, _HEALTHY).astype(np.uint8)


def _images(
    field: _Fields, tissue: np.ndarray, compartments: np.ndarray, brain: np.ndarray, inward: np.ndarray
) -> np.ndarray:
    """Return the signal of each modality from the tissues: (4, X, Y, Z) int16."""
    from scipy.ndimage import gaussian_filter

    draw = field.rng("contrast")
    # Partial volume blurs by half a voxel; infiltration makes the border of edema vaguer than the rim's.
    present = (*(EDEMA, NECROSIS, ENHANCING), *((CAVITY,) if (compartments == CAVITY).any() else ()))
    lesion = {k: gaussian_filter((compartments == k).astype(np.float32), 1.1 if k == EDEMA else 0.6) for k in present}
    healthy = np.clip(1 - sum(lesion.values()), 0, 1)
    vessels = np.exp(-((field.smooth("vessels a", 0.25) / 0.10) ** 2 + (field.smooth("vessels b", 0.25) / 0.10) ** 2))
    spots = _soft(field.smooth("white matter lesions", 0.16) - 2.3, 0.15) * tissue[_WHITE] * (inward > 0.25)
    texture = field.smooth("texture", 0.07)
    conspicuity = {k: draw.uniform(0.65, 1.1) for k in present}

    images = []
    for modality in TISSUE_VALUES:
        values = np.array(TISSUE_VALUES[modality], dtype=np.float32) * draw.uniform(0.94, 1.06, 6).astype(np.float32)
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
