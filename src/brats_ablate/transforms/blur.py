"""Gaussian blur: the paper's fifth augmentation."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np

from brats_ablate.cases import Batch
from brats_ablate.transforms.sampling import check_probability, check_range, parse_background, selected_samples
from brats_ablate.transforms.separable import filter_in_place


class GaussianBlur:
    """Convolves every modality with a Gaussian (paper section 2.2).

    The kernel is cut at ⌈3σ⌉ voxels and the image reflected at its border voxels, as in the released code (DALI's
    `gaussian_blur`).

    Args:
        p: probability per sample; 0.15 in the paper.
        sigma_voxels: bounds of the uniform distribution of the kernel's standard deviation; (0.5, 1.5) in the paper.
        background: "touch" blurs the zeros outside the brain too, as the released code does; "keep" does not.

    Raises:
        ConfigError: a value is out of range.
    """

    def __init__(self, p: float, sigma_voxels: list[float], background: Literal["touch", "keep"]) -> None:
        self.p = check_probability("blur", p)
        self.sigma_voxels = check_range("blur.sigma_voxels", sigma_voxels, at_least=0.1)
        self.keep_zeros = parse_background("blur", background)

    def __call__(self, batch: Batch) -> Batch:
        """Blur the selected samples in place."""
        for b, rng in selected_samples(batch, "blur", self.p):
            sigma = rng.uniform(*self.sigma_voxels)
            x, y, z = (gaussian_matrix(n, sigma) for n in batch.labels.shape[1:])
            images = batch.images[b]
            outside = images == 0 if self.keep_zeros else None
            filter_in_place(images, (x, y, z))
            if outside is not None:
                images.masked_fill_(outside, 0)
        return batch


def gaussian_matrix(n: int, sigma_voxels: float) -> np.ndarray:
    """Return the (n, n) float64 matrix that convolves an axis of `n` voxels, reflected at its border voxels."""
    radius = math.ceil(3 * sigma_voxels)
    offsets = np.arange(-radius, radius + 1)
    kernel = np.exp(-0.5 * (offsets / sigma_voxels) ** 2)
    kernel /= kernel.sum()
    period = max(2 * (n - 1), 1)
    folded = (np.arange(n)[:, None] + offsets) % period
    columns = np.minimum(folded, period - folded) if n > 1 else np.zeros_like(folded)
    matrix = np.zeros((n, n))
    np.add.at(matrix, (np.arange(n)[:, None], columns), kernel)
    return matrix
