"""Dice and HD95 of the three regions of one case on its whole grid, on one core, by the definition of each library.

Before timing, our values are compared with those of each library: they must agree under its definition.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from brats_ablate.cases import BBox
from brats_ablate.metrics.case_metrics import CaseMetrics
from brats_ablate.metrics.surface import HD95
from dataset import LABELS, Dataset
from measuring import Comparison, Options, Row, Table, cpu_seconds, interleave, one_core

MEDPY, DEEPMIND, MONAI = "medpy", "surface-distance (DeepMind)", "MONAI"
OURS = "ours, Dice and HD95 as BraTS 2023"
_SPACING_MM = (1.0, 1.0, 1.0)
Scores = list[tuple[float, float]]
"""Dice and HD95 of WT, TC and ET."""


def measure(options: Options) -> list[Table]:
    """Check that the values agree and measure the time: one table."""
    one_core()
    dataset = Dataset(options)
    predicted, reference = dataset.prediction(), dataset.reference()
    everything = CaseMetrics("default", "brats2023", 373.13, 1.0, 1.0, 3, 50.0, 374.0)
    candidates: dict[str, Callable[[], object]] = {
        MEDPY: lambda: by_medpy(predicted, reference),
        MONAI: lambda: by_monai(predicted, reference),
        DEEPMIND: lambda: by_deepmind(predicted, reference),
        OURS: lambda: ours(predicted, reference, "brats2023"),
        "ours, Dice and HD95 as medpy": lambda: ours(predicted, reference, "medpy"),
        "ours, all twelve metrics of job=evaluate": lambda: everything(predicted, reference, _SPACING_MM, LABELS),
    }
    differences = {
        MEDPY: _difference(ours(predicted, reference, "medpy"), by_medpy(predicted, reference)),
        DEEPMIND: _difference(ours(predicted, reference, "brats2023"), by_deepmind(predicted, reference)),
        MONAI: _difference(ours(predicted, reference, "monai"), by_monai(predicted, reference)),
    }
    if max(differences.values()) > 1e-4:
        raise AssertionError(f"the metrics disagree: {differences}")
    rounds = min(options.rounds, 3)
    times = interleave({name: cpu_seconds(work) for name, work in candidates.items()}, rounds, warm_up=False)
    shape = "×".join(str(s) for s in reference.shape)
    return [
        Table(
            f"Dice and HD95 of three regions, one case of {shape}, one core",
            "s",
            [Row(name, values) for name, values in times.items()],
            [Comparison(peer, OURS, peer) for peer in (MEDPY, DEEPMIND, MONAI)],
            note="Largest difference of the six values from ours under the same definition: "
            + ", ".join(f"{name} {value:.1e}" for name, value in differences.items())
            + ".",
        )
    ]


def ours(predicted: np.ndarray, reference: np.ndarray, definition: str) -> Scores:
    """Compute Dice and HD95 as `CaseMetrics` does, without its other metrics."""
    tumor = BBox.around((predicted | reference) != 0)
    assert tumor is not None
    scores = []
    for k in range(3):
        p, r = predicted[tumor.slices] > k, reference[tumor.slices] > k
        both, sizes = np.count_nonzero(p & r), np.count_nonzero(p) + np.count_nonzero(r)
        inner = BBox.around(p | r)
        assert inner is not None
        scores.append((2 * both / sizes, HD95[definition](p[inner.slices], r[inner.slices], _SPACING_MM)))
    return scores


def by_medpy(predicted: np.ndarray, reference: np.ndarray) -> Scores:
    """Compute medpy's `dc` and `hd95`."""
    from medpy.metric.binary import dc, hd95

    pairs = zip(LABELS.to_regions_np(predicted), LABELS.to_regions_np(reference), strict=True)
    return [(float(dc(p, r)), float(hd95(p, r, voxelspacing=_SPACING_MM))) for p, r in pairs]


def by_deepmind(predicted: np.ndarray, reference: np.ndarray) -> Scores:
    """Compute Dice and the robust Hausdorff distance at 95 % with DeepMind's surface-distance."""
    import surface_distance

    scores = []
    for p, r in zip(LABELS.to_regions_np(predicted), LABELS.to_regions_np(reference), strict=True):
        distances = surface_distance.compute_surface_distances(r, p, _SPACING_MM)
        hd95 = surface_distance.compute_robust_hausdorff(distances, 95)
        scores.append((float(surface_distance.compute_dice_coefficient(r, p)), float(hd95)))
    return scores


def by_monai(predicted: np.ndarray, reference: np.ndarray) -> Scores:
    """Compute MONAI's `compute_dice` and `compute_hausdorff_distance(percentile=95)`."""
    import torch
    from monai.metrics import compute_dice, compute_hausdorff_distance

    p, r = (torch.from_numpy(LABELS.to_regions_np(d))[None].float() for d in (predicted, reference))
    dice = compute_dice(p, r)[0]
    hd95 = compute_hausdorff_distance(p, r, include_background=True, percentile=95)[0]
    return list(zip(dice.tolist(), hd95.tolist(), strict=True))


def _difference(one: Scores, other: Scores) -> float:
    return float(np.abs(np.array(one) - np.array(other)).max())
