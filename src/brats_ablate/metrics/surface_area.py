"""Areas of the surface elements that weight surface distances.

A mask's surface lies between voxels: each corner where eight voxels meet carries the element that marching cubes would
draw there. DeepMind's surface-distance lists the normals of all 256 ways to fill the eight voxels. Up to rotation,
reflection and complement there are 14, from which the table is generated.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import permutations, product

import numpy as np

CODE_WEIGHTS = np.array([128, 64, 32, 16, 8, 4, 2, 1]).reshape(2, 2, 2)
"""The code of a 2×2×2 neighborhood is the sum of these over its filled voxels."""

_D, _Q, _H, _T = 0.125, 0.25, 0.5, 0.375
_NORMALS: dict[int, tuple[tuple[float, float, float], ...]] = {
    # code -> area vectors (absolute values) of its triangles and quadrangles, for cubic voxels of edge 1
    0: (),
    1: ((_D, _D, _D),),
    3: ((_Q, _Q, 0), (_Q, _Q, 0)),
    6: ((_D, _D, _D),) * 2,
    7: ((_D, _D, _D), (_Q, _Q, _Q), (_H, 0, 0)),
    15: ((_H, 0, 0), (_H, 0, 0)),
    22: ((_D, _D, _D),) * 3,
    23: ((_D, _D, _D), (_D, _D, _D), (_Q, _Q, _Q), (_Q, _Q, _Q)),
    24: ((_D, _D, _D),) * 2,
    25: ((0, _Q, _Q), (0, _Q, _Q), (_D, _D, _D)),
    27: ((0, _Q, _Q), (_D, _D, _D), (_Q, 0, _Q), (_T, _T, _T)),
    30: ((_D, _D, _D), (_D, _D, _D), (_Q, _Q, _Q), (_H, 0, 0)),
    60: ((_Q, _Q, 0),) * 4,
    105: ((_D, _D, _D),) * 4,
}


@lru_cache(maxsize=64)
def area_by_code(spacing_mm: tuple[float, float, float]) -> np.ndarray:
    """Return the area in mm² of each code's surface element, (256,) float64, for voxels of `spacing_mm`."""
    x, y, z = spacing_mm
    faces = np.array([y * z, x * z, x * y])
    areas: np.ndarray = np.sqrt(((_normals() * faces) ** 2).sum(axis=-1)).sum(axis=-1)
    return areas


@lru_cache(maxsize=1)
def _normals() -> np.ndarray:
    """Generate the (256, 4, 3) absolute area vectors from 14 by the cube's 48 symmetries and complement."""
    table = np.zeros((256, 4, 3))
    for code, normals in _NORMALS.items():
        filled = (code & CODE_WEIGHTS) > 0
        vectors = np.array(normals).reshape(-1, 3)
        for axes, mirrored, complement in product(permutations(range(3)), product((1, -1), repeat=3), (0, 1)):
            image = filled.transpose(axes)[tuple(slice(None, None, step) for step in mirrored)]
            image_code = int(CODE_WEIGHTS[image != bool(complement)].sum())
            table[image_code, : len(vectors)] = vectors[:, list(axes)]
    return table


def neighborhood_codes(mask: np.ndarray) -> np.ndarray:
    """Return the code of the 2×2×2 voxels around every corner: (X, Y, Z) bool -> (X + 1, Y + 1, Z + 1) uint8."""
    padded = np.zeros([n + 2 for n in mask.shape], dtype=np.uint8)
    padded[1:-1, 1:-1, 1:-1] = mask
    along_z = (padded[:, :, :-1] << 1) | padded[:, :, 1:]
    along_y = (along_z[:, :-1] << 2) | along_z[:, 1:]
    return (along_y[:-1] << 4) | along_y[1:]
