"""The 9 × 9 × 9 grid of label thresholds for one case: from its joint histogram, and by relabelling its volume."""

from __future__ import annotations

import numpy as np

from brats_ablate.labels import labels_from_probabilities
from brats_ablate.tuning.threshold_grid import ThresholdGrid, dice_of_combinations, joint_histogram
from material import Material
from measuring import Claim, Options, Row, Table, alternate, cpu_seconds, one_core

LABELLED = "relabelling the cropped volume for every combination"
MASKED = "the same with each threshold's mask made once"
OURS = "ours: joint histogram (job=tune)"
GRID = tuple(round(0.3 + 0.05 * i, 2) for i in range(9))


def measure(options: Options) -> list[Table]:
    """One table, and a check that no grid point differs."""
    one_core()
    material = Material(options)
    reference = material.store.read_labels(material.case_ids[0])
    probabilities = Material.probabilities(reference, seed=2)
    values = GRID[::4] if options.quick else GRID
    grid = ThresholdGrid(values, values, values)
    found = {
        OURS: by_histogram(probabilities, reference, grid),
        MASKED: by_masks(probabilities, reference, grid),
        LABELLED: by_labelling(probabilities, reference, grid),
    }
    for name in (MASKED, LABELLED):
        largest = float(np.abs(found[name] - found[OURS]).max())
        if largest > 1e-12:
            raise AssertionError(f"{name} differs from the histogram by {largest} in some grid point")
    rounds = 1 if options.quick else 2
    times = alternate(
        {
            LABELLED: cpu_seconds(lambda: by_labelling(probabilities, reference, grid)),
            MASKED: cpu_seconds(lambda: by_masks(probabilities, reference, grid)),
            OURS: cpu_seconds(lambda: by_histogram(probabilities, reference, grid)),
        },
        rounds,
        warm_up=False,
    )
    shape = "×".join(str(s) for s in reference.shape)
    return [
        Table(
            f"{len(grid.combinations)} threshold combinations → mean Dice, one case of {shape}, one core",
            "s",
            [Row(name, values) for name, values in times.items()],
            [Claim("brute force", OURS, LABELLED, 150.0), Claim("brute force on stored masks", OURS, MASKED)],
            note=f"The mean Dice of all {len(grid.combinations)} combinations is the same in the three.",
        )
    ]


def by_histogram(probabilities: np.ndarray, reference: np.ndarray, grid: ThresholdGrid) -> np.ndarray:
    """(W, T, E) mean Dice."""
    return dice_of_combinations(joint_histogram(probabilities, reference, grid))


def by_labelling(probabilities: np.ndarray, reference: np.ndarray, grid: ThresholdGrid) -> np.ndarray:
    """(W, T, E) mean Dice, label by label."""
    found = []
    for combination in grid.combinations:
        depth = labels_from_probabilities(probabilities, combination)
        found.append(np.mean([_dice(depth > k, reference > k) for k in range(3)]))
    return np.array(found).reshape(grid.shape)


def by_masks(probabilities: np.ndarray, reference: np.ndarray, grid: ThresholdGrid) -> np.ndarray:
    """(W, T, E) mean Dice; a region's mask at each threshold, and what it shares with others, made once."""
    wt, tc, et = (
        [p >= p.dtype.type(t) for t in thresholds]
        for p, thresholds in zip(probabilities, (grid.wt, grid.tc, grid.et), strict=True)
    )
    references = [reference > k for k in range(3)]
    found = np.empty(grid.shape)
    for i, whole in enumerate(wt):
        dice_wt = _dice(whole, references[0])
        for j, core in enumerate(tc):
            within = whole & core
            dice_tc = _dice(within, references[1])
            for k, enhancing in enumerate(et):
                found[i, j, k] = (dice_wt + dice_tc + _dice(within & enhancing, references[2])) / 3
    return found


def _dice(predicted: np.ndarray, reference: np.ndarray) -> float:
    sizes = np.count_nonzero(predicted) + np.count_nonzero(reference)
    return 2 * np.count_nonzero(predicted & reference) / sizes if sizes else 1.0
