"""Label semantics: the only module that knows label values, regions and channel names.

Inside the platform a label volume holds the *nesting depth* of the tissue: 0 background, 1 ED, 2 NCR, 3 ET. The
three overlapping regions of BraTS (paper section 2.4) are then thresholds of one integer:

    WT = depth >= 1 (ED, NCR, ET)      TC = depth >= 2 (NCR, ET)      ET = depth >= 3

A `LabelConvention` says which value a data set's files use for each tissue. It belongs to the data set's
configuration and is never guessed: 3 means ET from BraTS 2023 on and in the MSD, and nothing in BraTS 2021.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import torch

MODALITIES = ("flair", "t1", "t1ce", "t2")
"""The fixed channel order of every image array."""

TISSUES = ("background", "ED", "NCR", "ET")
"""Tissue names by nesting depth."""

BACKGROUND, ED, NCR, ET = range(4)

REGIONS = ("WT", "TC", "ET")
"""Region names in channel order; region k holds the voxels of depth greater than k."""

CONVENTIONS: Mapping[str, Mapping[int, int]] = MappingProxyType(
    {
        # file value -> nesting depth
        "brats2021": MappingProxyType({0: BACKGROUND, 1: NCR, 2: ED, 4: ET}),
        "brats2023": MappingProxyType({0: BACKGROUND, 1: NCR, 2: ED, 3: ET}),
        "msd": MappingProxyType({0: BACKGROUND, 1: ED, 2: NCR, 3: ET}),
    }
)
"""The label values of the public releases: BraTS up to 2021; BraTS from 2023 on; MSD Task01."""


_UNKNOWN = 255


class LabelError(ValueError):
    """A label volume holds values that its declared convention does not know."""


def encode_labels(values: np.ndarray, convention: str) -> np.ndarray:
    """Nesting depths of a segmentation as its file has it.

    Args:
        values: (X, Y, Z), integers, or floats with integral values.
        convention: a key of `CONVENTIONS`.

    Returns:
        (X, Y, Z) uint8 in 0..3.

    Raises:
        LabelError: on any value outside the convention; the message lists those values and the permitted ones.
    """
    known = CONVENTIONS[convention]
    table = np.full(256, _UNKNOWN, dtype=np.uint8)
    for value, depth in known.items():
        table[value] = depth
    with np.errstate(invalid="ignore"):  # NaN: told below
        small = values.astype(np.uint8)
    depths = table[small]
    if not np.array_equal(small, values) or (depths == _UNKNOWN).any():
        unknown = [v for v in np.unique(values).tolist() if v not in known]
        shown = ", ".join(f"{v:g}" for v in unknown[:5])
        allowed = ", ".join(str(v) for v in known)
        raise LabelError(f"label value {shown} is not of the convention {convention!r} ({allowed})")
    return depths


def decode_labels(depth: np.ndarray, convention: str) -> np.ndarray:
    """The inverse of `to_depth`: (X, Y, Z) uint8 with the file values of `convention`."""
    table = np.zeros(len(TISSUES), dtype=np.uint8)
    for value, tissue in CONVENTIONS[convention].items():
        table[tissue] = value
    return table[depth]


def to_regions(depth: torch.Tensor) -> torch.Tensor:
    """Region masks of nesting depths: (B, X, Y, Z) integer -> (B, 3, X, Y, Z) bool, channels as `REGIONS`."""
    import torch

    return torch.stack([depth > k for k in range(len(REGIONS))], dim=1)


def to_regions_np(depth: np.ndarray) -> np.ndarray:
    """Region masks of one case: (X, Y, Z) integer -> (3, X, Y, Z) bool, channels as `REGIONS`."""
    return np.stack([depth > k for k in range(len(REGIONS))])


def labels_from_probabilities(probabilities: Any, thresholds: tuple[float, float, float]) -> np.ndarray:
    """Labels from region probabilities by the paper's cascade (section 2.5).

    WT < t_WT -> background; else TC < t_TC -> ED; else ET < t_ET -> NCR; else ET.

    Args:
        probabilities: (3, X, Y, Z), channels as `REGIONS`.
        thresholds: one per region, in the order of `REGIONS`; the paper's are (.45, .4, .45).

    Returns:
        (X, Y, Z) uint8 nesting depths.
    """
    wt, tc, et = (np.asarray(p) >= p.dtype.type(t) for p, t in zip(np.asarray(probabilities), thresholds, strict=True))
    return (wt.astype(np.uint8) + (wt & tc) + (wt & tc & et)).astype(np.uint8)
