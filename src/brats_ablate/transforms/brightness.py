"""Brightness: the paper's sixth augmentation."""

from __future__ import annotations

from brats_ablate.cases import Batch
from brats_ablate.transforms.sampling import check_probability, check_range, selected_samples


class Brightness:
    """Multiplies all modalities of a sample by one random factor (paper section 2.2).

    Args:
        p: probability per sample; 0.15 in the paper.
        factor: bounds of the uniform distribution; (0.7, 1.3) in the paper.

    Raises:
        ConfigError: a value is out of range.
    """

    def __init__(self, p: float, factor: list[float]) -> None:
        self.p = check_probability("brightness", p)
        self.factor = check_range("brightness.factor", factor, at_least=0)

    def __call__(self, batch: Batch) -> Batch:
        """Scale the selected samples in place."""
        for b, rng in selected_samples(batch, "brightness", self.p):
            batch.images[b].mul_(rng.uniform(*self.factor))
        return batch
