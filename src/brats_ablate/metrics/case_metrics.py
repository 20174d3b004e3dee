"""Compute all metrics of one case, for `job=evaluate`.

The score of an empty region is a setting and is printed with the results, as libraries differ: BraTS gives 1 where
others give no value.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np

from brats_ablate.cases import BBox
from brats_ablate.errors import ConfigError
from brats_ablate.labels.scheme import LabelScheme
from brats_ablate.metrics.dice import dice_from_counts
from brats_ablate.metrics.lesions import LesionMatching, lesion_scores
from brats_ablate.metrics.surface import HD95, Spacing, between_elements, surface_dice, weighted_maximum
from brats_ablate.runtime.text import failure

RegionMetric = Callable[[np.ndarray, np.ndarray, Spacing], float]
"""(predicted, reference, spacing_mm) -> value; two masks (X, Y, Z) of a region, cropped to the box of both tumors."""

METRICS = [
    *("dice", "hd95", "sensitivity", "specificity", "nsd", "lesion_dice", "lesion_hd95", "reference_voxels"),
    *("predicted_voxels", "lesions_found", "lesions_missed", "lesions_invented"),
]
"""All metrics of `CaseMetrics`."""
_DILATION = 3
"""Of lesions, in voxels, where the definitions do not say it."""


class Scorer(Protocol):
    """An option of `metrics`: how a case is scored."""

    @property
    def policy(self) -> str:
        """Name and definitions of the metrics, in one sentence, printed with a table."""
        ...

    def __call__(
        self, predicted: np.ndarray, reference: np.ndarray, spacing_mm: Spacing, labels: LabelScheme
    ) -> dict[tuple[str, str], float]:
        """Return (region, metric) -> value of two (X, Y, Z) uint8 label maps; NaN where the metric is undefined."""
        ...


@dataclass(frozen=True)
class CaseMetrics:
    """Dice, HD95, sensitivity, specificity, surface Dice and the lesion-wise scores of every region."""

    name: str
    """The option of `metrics`."""
    hd95: Literal["brats2023", "monai", "medpy"]
    """Area-weighted and the larger direction, the larger direction over border voxels, or both directions pooled."""
    one_empty_mm: float
    """HD95 where one of the two regions is empty; BraTS: 373.13 (its grid's diagonal), 374 in 2023."""
    false_positive_sensitivity: float
    """Sensitivity where the region is predicted but not in the reference; it is undefined there."""
    tolerance_mm: float | None
    """Within which surfaces agree for NSD; None for no NSD."""
    lesion_dilation: int | None
    """This and the next two: see `LesionMatching`; None for no lesion-wise metrics."""
    lesion_above_mm3: float
    lesion_missed_mm: float
    extra: Mapping[str, RegionMetric] | None = None
    """Further metrics by name."""

    def __post_init__(self) -> None:
        require_new_names(self.extra or {}, METRICS)

    @property
    def policy(self) -> str:
        """Definitions of the metrics, in one sentence, printed with a table."""
        has_nsd = self.tolerance_mm is not None
        both = "Dice, NSD and sensitivity 1" if has_nsd else "Dice and sensitivity 1"
        parts = [
            f"metrics={self.name}: HD95 as {self.hd95}",
            f"a region empty in both: {both}, HD95 0 mm",
            f"empty in one: Dice{' and NSD' if has_nsd else ''} 0, HD95 {self.one_empty_mm:g} mm",
            f"empty in the reference alone: sensitivity {self.false_positive_sensitivity:g}",
        ]
        if has_nsd:
            parts.append(f"NSD within {self.tolerance_mm:g} mm")
        if self.lesion_dilation is not None:
            above, missed = f"lesions above {self.lesion_above_mm3:g} mm³", f"{self.lesion_missed_mm:g} mm"
            parts.append(f"{above}, {missed} for a false-negative or false-positive one")
        if self.lesion_dilation not in (None, _DILATION):
            parts.append(f"lesions dilated by {self.lesion_dilation} voxels")
        return "; ".join(parts)

    def __call__(
        self, predicted: np.ndarray, reference: np.ndarray, spacing_mm: Spacing, labels: LabelScheme
    ) -> dict[tuple[str, str], float]:
        """Return (region, metric) -> value of two (X, Y, Z) uint8 label maps on the case's whole grid.

        Raises:
            ValueError: the two shapes differ.
        """
        whole = predicted.size
        predicted, reference = cropped_to_tumor(predicted, reference)
        outside = whole - predicted.size
        masks = zip(labels.to_regions_np(predicted), labels.to_regions_np(reference), strict=True)
        return {
            (region, metric): float(value)
            for region, (p, r) in zip(labels.region_names, masks, strict=True)
            for metric, value in self._region(p, r, spacing_mm, outside).items()
        }

    def _region(
        self, predicted: np.ndarray, reference: np.ndarray, spacing_mm: Spacing, outside: int
    ) -> dict[str, float]:
        p, r = int(np.count_nonzero(predicted)), int(np.count_nonzero(reference))
        both = int(np.count_nonzero(predicted & reference))
        negatives = predicted.size + outside - r
        scores: dict[str, float] = {
            "dice": float(dice_from_counts(both, p, r)),
            "sensitivity": both / r if r else self.false_positive_sensitivity if p else 1.0,
            "specificity": 1 - (p - both) / negatives if negatives else 1.0,
            "reference_voxels": r,
            "predicted_voxels": p,
        }
        if self.lesion_dilation is not None:
            matching = LesionMatching(self.lesion_dilation, self.lesion_above_mm3, self.lesion_missed_mm)
            lesions = lesion_scores(predicted, reference, spacing_mm, matching)
            scores |= {
                "lesion_dice": lesions.dice,
                "lesion_hd95": lesions.hd95_mm,
                "lesions_found": lesions.true_positives,
                "lesions_missed": lesions.false_negatives,
                "lesions_invented": lesions.false_positives,
            }
        scores |= own_scores(self.extra or {}, predicted, reference, spacing_mm)
        return scores | self._surface(predicted, reference, spacing_mm)

    def _surface(self, predicted: np.ndarray, reference: np.ndarray, spacing_mm: Spacing) -> dict[str, float]:
        box = BBox.around(predicted | reference)
        if box is None:
            return {"hd95": 0.0} | ({} if self.tolerance_mm is None else {"nsd": 1.0})
        if not predicted.any() or not reference.any():
            return {"hd95": self.one_empty_mm} | ({} if self.tolerance_mm is None else {"nsd": 0.0})
        predicted, reference = predicted[box.slices], reference[box.slices]
        if self.tolerance_mm is None:
            return {"hd95": HD95[self.hd95](predicted, reference, spacing_mm)}
        distances = between_elements(predicted, reference, spacing_mm)
        is_2023 = self.hd95 == "brats2023"  # which has the same distances as NSD
        hd95 = weighted_maximum(distances) if is_2023 else HD95[self.hd95](predicted, reference, spacing_mm)
        return {"hd95": hd95, "nsd": surface_dice(distances, self.tolerance_mm)}


def require_new_names(extra: Iterable[str], built_in: Collection[str]) -> None:
    """Check the names of own metrics; upper and lower case are one name, as in the files of other programs.

    Raises:
        ValueError: one is the name of a built-in metric.
    """
    for name in extra:
        if name.lower() in built_in:
            raise ValueError(f"extra.{name} is the name of a built-in metric; rename it")


def own_scores(
    extra: Mapping[str, RegionMetric], predicted: np.ndarray, reference: np.ndarray, spacing_mm: Spacing
) -> dict[str, float]:
    """Return the values of own metrics by name.

    Raises:
        ConfigError: one fails, or returns no number.
    """
    scores = {}
    for name, metric in extra.items():
        try:
            scores[name] = float(metric(predicted, reference, spacing_mm))
        except Exception as error:  # whatever another's code raises
            raise ConfigError(
                f"metrics.extra.{name} cannot score a region ({failure(error)}); it takes (predicted, reference, "
                "spacing_mm) and returns a number"
            ) from error
    return scores


def cropped_to_tumor(predicted: np.ndarray, reference: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Crop two label maps (X, Y, Z) to the box of both tumors: outside, every voxel is background in both.

    Raises:
        ValueError: the two shapes differ.
    """
    if predicted.shape != reference.shape:
        raise ValueError(f"prediction {predicted.shape} and reference {reference.shape} are not on one grid")
    tumor = BBox.around((predicted | reference) != 0)
    box = tumor.slices if tumor else (slice(0, 0),) * 3
    return predicted[box], reference[box]
