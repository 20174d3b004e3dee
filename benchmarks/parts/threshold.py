"""The 9 × 9 × 9 grid of label thresholds for one case, by its joint histogram and by relabeling its volume."""

from __future__ import annotations

import numpy as np

from brats_ablate.tuning.threshold_grid import ThresholdGrid, dice_of_combinations, joint_histogram
from dataset import LABELS, Dataset
from measuring import Comparison, Options, Row, Table, cpu_seconds, interleave, one_core

LABELED = "relabeling the cropped volume for every combination"
MASKED = "the same with the mask of each threshold computed once"
OURS = "ours: joint histogram (job=tune)"
GRID = tuple(round(0.3 + 0.05 * i, 2) for i in range(9))


def measure(options: Options) -> list[Table]:
    """Check that all grid points agree and measure the time: one table."""
    one_core()
    dataset = Dataset(options)
    reference = dataset.store.read_labels(dataset.case_ids[0])
    probabilities = Dataset.probabilities(reference, seed=2)
    values = GRID[::4] if options.quick else GRID
    grid = ThresholdGrid(dict.fromkeys(LABELS.regions, values))
    dice = {
        OURS: by_histogram(probabilities, reference, grid),
        MASKED: by_masks(probabilities, reference, grid),
        LABELED: by_labeling(probabilities, reference, grid),
    }
    for name in (MASKED, LABELED):
        largest = float(np.abs(dice[name] - dice[OURS]).max())
        if largest > 1e-12:
            raise AssertionError(f"{name} differs from the histogram by {largest} in some grid point")
    rounds = 1 if options.quick else 2
    times = interleave(
        {
            LABELED: cpu_seconds(lambda: by_labeling(probabilities, reference, grid)),
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
            [Comparison("brute force", OURS, LABELED), Comparison("brute force on stored masks", OURS, MASKED)],
            note=f"The mean Dice of all {len(grid.combinations)} combinations is the same in all three.",
        )
    ]


def by_histogram(probabilities: np.ndarray, reference: np.ndarray, grid: ThresholdGrid) -> np.ndarray:
    """Compute the (W, T, E) mean Dice from the joint histogram."""
    return dice_of_combinations(joint_histogram(probabilities, reference, grid, LABELS), LABELS)


def by_labeling(probabilities: np.ndarray, reference: np.ndarray, grid: ThresholdGrid) -> np.ndarray:
    """Compute the (W, T, E) mean Dice by relabeling for each combination."""
    means = []
    for combination in grid.combinations:
        labels = LABELS.labels_from_probabilities(probabilities, combination)
        means.append(np.mean([_dice(labels > k, reference > k) for k in range(3)]))
    return np.array(means).reshape(grid.shape)


def by_masks(probabilities: np.ndarray, reference: np.ndarray, grid: ThresholdGrid) -> np.ndarray:
    """Compute the (W, T, E) mean Dice with each mask and intersection computed once."""
    wt, tc, et = (
        [p >= p.dtype.type(t) for t in thresholds]
        for p, thresholds in zip(probabilities, grid.of_region.values(), strict=True)
    )
    references = [reference > k for k in range(3)]
    means = np.empty(grid.shape)
    for i, whole in enumerate(wt):
        dice_wt = _dice(whole, references[0])
        for j, core in enumerate(tc):
            within = whole & core
            dice_tc = _dice(within, references[1])
            for k, enhancing in enumerate(et):
                means[i, j, k] = (dice_wt + dice_tc + _dice(within & enhancing, references[2])) / 3
    return means


def _dice(predicted: np.ndarray, reference: np.ndarray) -> float:
    sizes = np.count_nonzero(predicted) + np.count_nonzero(reference)
    return 2 * np.count_nonzero(predicted & reference) / sizes if sizes else 1.0
