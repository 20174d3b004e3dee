"""Region probabilities to labels: the threshold cascade, and the rounding that makes it repeatable."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from brats_ablate.labels.scheme import LabelScheme

if TYPE_CHECKING:
    import torch


_ROUNDING = 1e-6
"""Of a difference of float32 probabilities."""


class RegionThresholds:
    """The paper's cascade (section 2.5): WT < t_WT → 0; else TC < t_TC → ED; else ET < t_ET → NCR; else ET.

    For other regions see `LabelScheme.labels_from_probabilities`.

    Args:
        others: threshold of the regions that have none of their own.
        of_region: threshold by the region's name in lower case; the paper's are wt=.45, tc=.4, et=.45. One of a region
            that the label scheme does not have is ignored here; `config.constraints` refuses mistyped names.

    Raises:
        ValueError: a threshold outside (0, 1]. At 0 everything outside the brain would become tumor.
    """

    def __init__(self, others: float = 0.5, **of_region: float) -> None:
        for name, value in (*of_region.items(), ("others", others)):
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= 1:
                raise ValueError(f"{name}={value} must lie in (0, 1]")
        self.of_region, self.others = of_region, others

    def __call__(self, probabilities: np.ndarray, labels: LabelScheme) -> np.ndarray:
        """Return the (X, Y, Z) uint8 label map of (R, X, Y, Z) probabilities."""
        return labels.labels_from_probabilities(probabilities, self.of(labels))

    def of(self, labels: LabelScheme) -> list[float]:
        """Return the threshold of each region, in channel order."""
        return [self.of_region.get(region.lower(), self.others) for region in labels.regions]


class ThresholdsAsReleased:
    """The rule of the paper's released notebook: WT ≤ .5 → 0; else ET > .5 → ET; else TC ≤ .5 → ED; else NCR.

    Unlike in the paper's cascade, ET may lie outside TC. Of other nested regions, the last above .5 decides; a region
    outside the first one is background.
    """

    def __call__(self, probabilities: np.ndarray, labels: LabelScheme) -> np.ndarray:
        """Return the (X, Y, Z) uint8 label map of (R, X, Y, Z) probabilities.

        Raises:
            ValueError: the regions are not nested.
        """
        if not labels.is_nested:
            raise ValueError(f"the released rule needs nested regions; labels={labels.name} has others; use half")
        result = np.zeros(probabilities.shape[1:], dtype=np.uint8)
        for region, label in zip(probabilities, labels.label_left_by, strict=True):
            result[(region > 0.5) & (probabilities[0] > 0.5)] = label
        return result


class MostProbableTissue:
    """The tissue, or the background, of the highest probability, as nnU-Net decides with exclusive labels.

    The probability of a tissue is that of the region that leaves it minus those of the regions within that one. Of
    equal ones, the background and then the first tissue decides.
    """

    full_precision = True
    """Whether probabilities are float32: differences of float16 ones are too coarse."""

    def __call__(self, probabilities: np.ndarray, labels: LabelScheme) -> np.ndarray:
        """Return the (X, Y, Z) uint8 label map of (R, X, Y, Z) probabilities.

        Raises:
            ValueError: two regions overlap and neither contains the other, or a tissue is in no region.
        """
        sets = [set(members) for members in labels.labels_of_regions]
        overlap = any(a & b and not (a <= b or b <= a) for a in sets for b in sets)
        if overlap or sorted(labels.label_left_by) != list(range(1, len(labels.tissues) + 1)):
            raise ValueError(
                f"the regions of labels={labels.name} overlap or lack a tissue, so the most probable one is unknown; "
                "set inference/labels=half"
            )
        exclusive = probabilities.astype(np.float32)
        best, result = np.ones(probabilities.shape[1:], np.float32), np.zeros(probabilities.shape[1:], np.uint8)
        for channel, region in enumerate(probabilities):
            enclosing = labels.enclosing[channel]
            if enclosing:  # the innermost one comes last
                exclusive[enclosing[-1]] -= region
            else:
                best -= region
        for label, own in sorted(zip(labels.label_left_by, exclusive, strict=True), key=lambda pair: pair[0]):
            result[own > best + _ROUNDING] = label
            np.maximum(best, own, out=best)
        return result


class RegionsInOrder:
    """The last region above .5 decides, also outside those that contain it, as nnU-Net decides with regions."""

    full_precision = True

    def __call__(self, probabilities: np.ndarray, labels: LabelScheme) -> np.ndarray:
        """Return the (X, Y, Z) uint8 label map of (R, X, Y, Z) probabilities."""
        result = np.zeros(probabilities.shape[1:], dtype=np.uint8)
        for region, label in zip(probabilities, labels.label_left_by, strict=True):
            result[region > 0.5] = label
        return result


def saved_probabilities(probabilities: torch.Tensor, dtype: torch.dtype) -> np.ndarray:
    """Round region probabilities as they are saved: (1, R, X, Y, Z) -> (R, X, Y, Z) of `dtype`, C-contiguous.

    Labels are always computed from these, so predicting, relabeling saved probabilities and the threshold search agree
    in every voxel. The type is float16, or float32 for a rule with `full_precision`.
    """
    return np.ascontiguousarray(probabilities[0].to(dtype).cpu().numpy())
