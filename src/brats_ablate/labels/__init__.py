"""Label schemes: the only module that defines label values, tissues, regions and channel names.

Inside the package a segmentation is a *nested label map*: 0 background, 1 ED, 2 NCR, 3 ET. The three overlapping
regions of BraTS (paper section 2.4) are thresholds of that one integer:

    WT = label >= 1 (ED, NCR, ET)      TC = label >= 2 (NCR, ET)      ET = label >= 3

A convention says which value the files of a data set use for each tissue. It is part of the data set's configuration
and is never guessed: 3 means ET in the MSD and from BraTS 2023 on, and does not occur in BraTS 2021.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch

MODALITIES = ("flair", "t1", "t1ce", "t2")
"""The fixed channel order of every image array."""

TISSUES = ("background", "ED", "NCR", "ET")
"""Tissue names by nested label."""

BACKGROUND, ED, NCR, ET = range(4)

REGIONS = ("WT", "TC", "ET")
"""Region names in channel order. Region k contains the voxels whose nested label is greater than k."""

CONVENTIONS: Mapping[str, Mapping[int, int]] = MappingProxyType(
    {
        # file value -> nested label
        "brats2021": MappingProxyType({0: BACKGROUND, 1: NCR, 2: ED, 4: ET}),
        "brats2023": MappingProxyType({0: BACKGROUND, 1: NCR, 2: ED, 3: ET}),
        "msd": MappingProxyType({0: BACKGROUND, 1: ED, 2: NCR, 3: ET}),
    }
)
"""Label values of the public releases: BraTS up to 2021, BraTS from 2023 on, MSD Task01."""
_UNKNOWN = 255
LABEL_TOLERANCE = 1e-3
"""Distance from an integer at which a floating-point label still means it."""


class LabelError(ValueError):
    """A segmentation contains values outside its declared convention."""


def encode_labels(values: np.ndarray, convention: str) -> np.ndarray:
    """Return the nested label map of a segmentation with file values.

    `values` is (X, Y, Z), integers, or floats within `LABEL_TOLERANCE` of integers; the result (X, Y, Z) uint8 in 0..3.

    Raises:
        LabelError: on any value outside the convention; the message lists those values and the permitted ones.
    """
    known = CONVENTIONS[convention]
    table = np.full(256, _UNKNOWN, dtype=np.uint8)
    for value, label in known.items():
        table[value] = label
    if values.dtype.kind == "f":  # a scaling in the file's header can leave 3.9999 of a 4
        whole = np.rint(values)
        values = np.where(np.abs(values - whole) <= LABEL_TOLERANCE, whole, values)
    with np.errstate(invalid="ignore"):  # NaN is reported below
        small = values.astype(np.uint8)
    nested: np.ndarray = table[small]
    if not np.array_equal(small, values) or (nested == _UNKNOWN).any():
        unknown = [v for v in np.unique(values).tolist() if v not in known]
        listed = ", ".join(f"{v:g}" for v in unknown[:5])
        allowed = ", ".join(str(v) for v in known)
        raise LabelError(f"label value {listed} is not in convention {convention!r} ({allowed})")
    return nested


def decode_labels(nested: np.ndarray, convention: str) -> np.ndarray:
    """Return the file values of a nested label map: the inverse of `encode_labels`, (X, Y, Z) uint8."""
    table = np.zeros(len(TISSUES), dtype=np.uint8)
    for value, label in CONVENTIONS[convention].items():
        table[label] = value
    values: np.ndarray = table[nested]
    return values


def to_regions(nested: torch.Tensor) -> torch.Tensor:
    """Return region masks of nested label maps: (B, X, Y, Z) integer -> (B, 3, X, Y, Z) bool, channels as `REGIONS`."""
    import torch

    return torch.stack([nested > k for k in range(len(REGIONS))], dim=1)


def to_regions_np(nested: np.ndarray) -> np.ndarray:
    """Return the region masks of one case: (X, Y, Z) integer -> (3, X, Y, Z) bool, channels as `REGIONS`."""
    return np.stack([nested > k for k in range(len(REGIONS))])


def labels_from_probabilities(probabilities: np.ndarray, thresholds: tuple[float, float, float]) -> np.ndarray:
    """Return nested labels of region probabilities by the paper's cascade (section 2.5).

    WT < t_WT -> background; else TC < t_TC -> ED; else ET < t_ET -> NCR; else ET.

    `probabilities` is (3, X, Y, Z), channels as `REGIONS`; `thresholds` has one per region in that order, the paper's
    are (.45, .4, .45). The result is an (X, Y, Z) uint8 nested label map.
    """
    wt, tc, et = (p >= p.dtype.type(t) for p, t in zip(probabilities, thresholds, strict=True))
    nested: np.ndarray = (wt.astype(np.uint8) + (wt & tc) + (wt & tc & et)).astype(np.uint8)
    return nested
