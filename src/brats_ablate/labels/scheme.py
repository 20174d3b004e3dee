"""A label scheme: tissues with their file values, and the regions that networks predict and scores are computed of."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import numpy as np
    import torch

LABEL_TOLERANCE = 1e-3
"""Distance from an integer at which a floating-point label still means it."""
_UNKNOWN = 255
_MOST_TISSUES = 30

_BRATS_REGIONS = MappingProxyType({"WT": ("ED", "NCR", "ET"), "TC": ("NCR", "ET"), "ET": ("ET",)})
_NAMED_BEFORE: Mapping[str, Mapping[str, int]] = MappingProxyType(
    {
        "brats2021": MappingProxyType({"ED": 2, "NCR": 1, "ET": 4}),
        "brats2023": MappingProxyType({"ED": 2, "NCR": 1, "ET": 3}),
        "msd": MappingProxyType({"ED": 1, "NCR": 2, "ET": 3}),
    }
)
"""Schemes that stores and runs of version 0.1 record by name alone, as `convention`."""


class LabelError(ValueError):
    """A segmentation contains values outside its declared scheme."""


@dataclass(frozen=True)
class LabelScheme:
    """Tissues, their values in files, and regions.

    Args:
        name: of the scheme, for messages and records.
        tissues: tissue -> its value in the files, or several values of which the first is written. The order is that of
            the label map: the first tissue is stored as 1.
        regions: region -> its tissues, in the order of the network's outputs. Where several regions claim a voxel, the
            later one decides. A region must leave exactly one of its tissues to no region within it or after it; a
            voxel that only this region claims is of that tissue.
        averaged: the regions of a mean score; None for all.
        relabel: {tissue: tissue} of the paper's post-processing (section 2.5): small uncertain components of the first
            become the second. {} where these rules do not apply.
        outside_inside: two tissues of which the first borders on healthy tissue more than the second in most cases;
            swapped values reverse this, which is their only symptom. () for no such check.
        cases: regular expression at the start of the case ids of data sets that are labeled so; None for no check.

    Raises:
        ValueError: a value occurs twice, a region contains an unknown tissue, one leaves no tissue, or several, or
            `cases` is no regular expression.
    """

    name: str
    tissues: Mapping[str, int | Sequence[int]]
    regions: Mapping[str, Sequence[str]]
    averaged: Sequence[str] | None = None
    relabel: Mapping[str, str] = field(default_factory=dict)
    outside_inside: Sequence[str] = ()
    cases: str | None = None

    def __post_init__(self) -> None:
        tissues, regions = list(self.tissues), list(self.regions)
        if not tissues or not regions or len(tissues) > _MOST_TISSUES:
            raise ValueError(f"labels={self.name} needs tissues (up to {_MOST_TISSUES}) and regions")
        values = [v for group in self.file_values for v in group]
        if any(isinstance(v, bool) or not isinstance(v, int) or not 0 < v < _UNKNOWN for v in values):
            raise ValueError(f"tissues={dict(self.tissues)} must have values from 1 to {_UNKNOWN - 1}")
        if len(set(values)) < len(values):
            raise ValueError(f"tissues={dict(self.tissues)} gives a value to two tissues")
        named = [t for members in self.regions.values() for t in members]
        named += [*self.relabel, *self.relabel.values(), *self.outside_inside]
        if unknown := [t for t in named if t not in self.tissues]:
            raise ValueError(f"{unknown[0]} is not a tissue of labels={self.name} ({', '.join(tissues)})")
        if unknown := [r for r in self.averaged or () if r not in self.regions]:
            raise ValueError(f"averaged: {unknown[0]} is not a region of labels={self.name} ({', '.join(regions)})")
        for region in regions:
            left = self._left_by(region)
            if len(left) != 1:
                raise ValueError(
                    f"regions: {region} leaves {' and '.join(left) or 'no tissue'} to no region within it; each region "
                    "must leave exactly one tissue"
                )
        for region, enclosing in zip(regions, self.enclosing, strict=True):
            if late := [regions[k] for k in enclosing if k > regions.index(region)]:
                raise ValueError(f"regions: {region} must come after {late[0]}, which contains it")
        for tissue, other in self.relabel.items():
            shared = [r for r, members in self.regions.items() if tissue in members and other not in members]
            if len(self.relabel) > 1 or len(shared) != 1 or self.channel(tissue) is None:
                raise ValueError(
                    f"relabel={dict(self.relabel)} must name one tissue that is a region of its own; every other "
                    f"region with {tissue} must contain {other} too"
                )
        try:
            re.compile(self.cases or "")
        except re.error as error:
            raise ValueError(f"cases={self.cases} is not a regular expression: {error}") from error

    @property
    def region_names(self) -> tuple[str, ...]:
        """Names of the regions in channel order."""
        return tuple(self.regions)

    @property
    def tissue_names(self) -> tuple[str, ...]:
        """Names of the tissues by stored label, background first."""
        return ("background", *self.tissues)

    @property
    def averaged_names(self) -> tuple[str, ...]:
        """Names of the regions whose mean is the score."""
        return self.region_names if self.averaged is None else tuple(self.averaged)

    @cached_property
    def file_values(self) -> tuple[tuple[int, ...], ...]:
        """The values of each tissue in files, by stored label - 1."""
        return tuple((v,) if isinstance(v, int) else tuple(v) for v in self.tissues.values())

    @cached_property
    def label_of_value(self) -> Mapping[int, int]:
        """File value -> stored label, background included."""
        pairs = [(v, label) for label, values in enumerate(self.file_values, start=1) for v in values]
        return {0: 0, **dict(pairs)}

    @cached_property
    def labels_of_regions(self) -> tuple[tuple[int, ...], ...]:
        """The stored labels of each region."""
        return tuple(tuple(sorted(self.label(t) for t in members)) for members in self.regions.values())

    @cached_property
    def label_left_by(self) -> tuple[int, ...]:
        """The stored label of the voxels that a region claims and no region within it, by channel."""
        return tuple(self.label(self._left_by(region)[0]) for region in self.regions)

    @cached_property
    def enclosing(self) -> tuple[tuple[int, ...], ...]:
        """The channels of the regions that contain all tissues of a region and more, by channel."""
        sets = [set(labels) for labels in self.labels_of_regions]
        return tuple(tuple(k for k, other in enumerate(sets) if other > own) for own in sets)

    def decoding(self) -> list[dict[str, Any]]:
        """Return for each region what `labels_from_probabilities` and `decode` do with it, for other programs.

        Each has its name as `region`, the names of the regions that contain it as `within`, and the file value of the
        voxels that it decides as `value`.
        """
        names = self.region_names
        return [
            {"region": name, "within": [names[k] for k in outer], "value": self.file_values[label - 1][0]}
            for name, outer, label in zip(names, self.enclosing, self.label_left_by, strict=True)
        ]

    @property
    def sized_region(self) -> str:
        """The region by whose volume cases are grouped: that of `relabel`, whose Dice small tumors decide."""
        alone = [self.channel(tissue) for tissue in self.relabel]
        return self.region_names[-1 if not alone or alone[0] is None else alone[0]]

    @property
    def is_nested(self) -> bool:
        """Whether each region contains all that come after it."""
        return all(len(outer) == channel for channel, outer in enumerate(self.enclosing))

    def has_regions_of(self, other: LabelScheme) -> bool:
        """Return whether label maps and outputs of a network mean the same in both, whatever the values in files."""
        return (self.region_names, self.labels_of_regions) == (other.region_names, other.labels_of_regions)

    def label(self, tissue: str) -> int:
        """Return the stored label of a tissue."""
        return self.tissue_names.index(tissue)

    def channel(self, tissue: str) -> int | None:
        """Return the channel of the region that is this tissue alone; None if there is none."""
        alone = (self.label(tissue),)
        return self.labels_of_regions.index(alone) if alone in self.labels_of_regions else None

    def _left_by(self, region: str) -> list[str]:
        names = list(self.regions)
        own = set(self.regions[region])
        inner = [set(self.regions[n]) for n in names if set(self.regions[n]) < own]
        return [t for t in self.tissues if t in own and not any(t in members for members in inner)]

    @property
    def key(self) -> Any:
        """What identifies the scheme in fingerprints and identities: its name where version 0.1 knew it by that."""
        before = _NAMED_BEFORE.get(self.name)
        regions = {name: tuple(members) for name, members in self.regions.items()}
        is_as_before = before is not None and list(self.tissues.items()) == list(before.items())
        is_as_before &= list(regions.items()) == list(_BRATS_REGIONS.items())
        if is_as_before and self.averaged_names == self.region_names:
            return self.name
        return {
            key: value for key, value in self.to_dict().items() if key in ("name", "tissues", "regions", "averaged")
        }

    @classmethod
    def of_key(cls, key: str | Mapping[str, Any]) -> LabelScheme:
        """Return a scheme with the values and regions that `key` identifies."""
        return cls.named_before(key) if isinstance(key, str) else cls(**key)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON, with which the scheme is constructed again."""
        return {
            "name": self.name,
            "tissues": {t: v if isinstance(v, int) else list(v) for t, v in self.tissues.items()},
            "regions": {region: list(members) for region, members in self.regions.items()},
            "averaged": list(self.averaged_names),
            "relabel": dict(self.relabel),
            "outside_inside": list(self.outside_inside),
            "cases": self.cases,
        }

    @classmethod
    def recorded(cls, head: Mapping[str, Any]) -> LabelScheme:
        """Return the scheme of a store's `cohort.json`; version 0.1 recorded a name only, as `convention`."""
        return cls(**head["labels"]) if "labels" in head else cls.named_before(head["convention"])

    @classmethod
    def of_run(cls, config: Mapping[str, Any]) -> LabelScheme:
        """Return the scheme in the recorded configuration of a run, also of version 0.1."""
        if "labels" not in config:
            return cls.named_before(config["data"]["convention"])
        return cls(**{key: value for key, value in config["labels"].items() if not key.startswith("_")})

    @classmethod
    def named_before(cls, convention: str) -> LabelScheme:
        """Return the scheme that a store or run of version 0.1 records as `convention`."""
        return cls(
            convention,
            dict(_NAMED_BEFORE[convention]),
            dict(_BRATS_REGIONS),
            relabel={"ET": "NCR"},
            outside_inside=("ED", "NCR"),
        )

    def encode(self, values: np.ndarray) -> np.ndarray:
        """Return the label map of a segmentation with file values.

        `values` is (X, Y, Z), integers, or floats within `LABEL_TOLERANCE` of integers; the result (X, Y, Z) uint8.

        Raises:
            LabelError: on any value outside the scheme; the message lists those values and the permitted ones.
        """
        import numpy as np  # not above: every command line reads a scheme

        known = self.label_of_value
        table = np.full(256, _UNKNOWN, dtype=np.uint8)
        for value, label in known.items():
            table[value] = label
        values = rounded(values)
        with np.errstate(invalid="ignore"):  # NaN is reported below
            small = values.astype(np.uint8, copy=False)
        # As bytes: five times as fast as indexing the table.
        order: Literal["C", "F"] = "F" if small.flags.f_contiguous else "C"
        translated = bytearray(small.tobytes(order)).translate(table.tobytes())
        encoded: np.ndarray = np.ndarray(small.shape, np.uint8, translated, order=order)
        if (small is not values and not np.array_equal(small, values)) or encoded.max(initial=0) == _UNKNOWN:
            unknown = [v for v in np.unique(values).tolist() if v not in known]
            listed = ", ".join(f"{v:g}" for v in unknown[:5])
            allowed = ", ".join(str(v) for v in sorted(known))
            raise LabelError(f"label value {listed} is not in labels={self.name} ({allowed})")
        return encoded

    def decode(self, encoded: np.ndarray) -> np.ndarray:
        """Return the file values of a label map: the inverse of `encode`, (X, Y, Z) uint8."""
        import numpy as np  # not above: every command line reads a scheme

        table = np.array([0, *(values[0] for values in self.file_values)], dtype=np.uint8)
        values: np.ndarray = table[encoded]
        return values

    def to_regions(self, encoded: torch.Tensor) -> torch.Tensor:
        """Return region masks of label maps: (B, X, Y, Z) integer -> (B, R, X, Y, Z) bool, channels as `regions`."""
        import torch

        return torch.stack([_mask(encoded, labels, len(self.tissues)) for labels in self.labels_of_regions], dim=1)

    def to_regions_np(self, encoded: np.ndarray) -> np.ndarray:
        """Return the region masks of one case: (X, Y, Z) integer -> (R, X, Y, Z) bool, channels as `regions`."""
        import numpy as np  # not above: every command line reads a scheme

        return np.stack([_mask(encoded, labels, len(self.tissues)) for labels in self.labels_of_regions])

    def labels_from_probabilities(self, probabilities: np.ndarray, thresholds: Sequence[float]) -> np.ndarray:
        """Return the label map of region probabilities: the paper's cascade (section 2.5), for any regions.

        A region is claimed where its probability and those of all regions that enclose it reach their thresholds; the
        last region in channel order that is claimed decides. In the paper: WT < t_WT -> background; else TC < t_TC ->
        ED; else ET < t_ET -> NCR; else ET.

        `probabilities` is (R, X, Y, Z), `thresholds` has one per region in that order, the paper's are (.45, .4, .45).
        The result is (X, Y, Z) uint8.
        """
        import numpy as np  # not above: every command line reads a scheme

        reached = [p >= p.dtype.type(t) for p, t in zip(probabilities, thresholds, strict=True)]
        result = np.zeros(probabilities.shape[1:], dtype=np.uint8)
        for channel, claimed in enumerate(reached):
            for outer in self.enclosing[channel]:
                claimed = claimed & reached[outer]
            result[claimed] = self.label_left_by[channel]
        return result


def _mask(encoded: Any, labels: tuple[int, ...], n_tissues: int) -> Any:
    """Return where an array or tensor has one of the labels; a comparison where they are all from one on."""
    if labels == tuple(range(labels[0], n_tissues + 1)):
        return encoded >= labels[0]
    mask = encoded == labels[0]
    for label in labels[1:]:
        mask = mask | (encoded == label)
    return mask


def rounded(values: np.ndarray) -> np.ndarray:
    """Return file values with those within `LABEL_TOLERANCE` of an integer rounded to it.

    A scaling in the file's header can leave 3.9999 of a 4.
    """
    import numpy as np  # not above: every command line reads a scheme

    if values.dtype.kind != "f":
        return values
    whole = np.rint(values)
    return np.where(np.abs(values - whole) <= LABEL_TOLERANCE, whole, values)
