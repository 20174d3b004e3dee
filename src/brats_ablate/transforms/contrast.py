"""Contrast: the paper's seventh augmentation."""

from __future__ import annotations

import torch

from brats_ablate.cases import Batch
from brats_ablate.transforms.sampling import check_probability, check_range, selected_samples


class Contrast:
    """Multiplies all modalities by one random factor and clips each to the range it had (paper section 2.2).

    Args:
        p: probability per sample; 0.15 in the paper.
        factor: bounds of the uniform distribution; (0.65, 1.5) in the paper.

    Raises:
        ConfigError: a value is out of range.
    """

    def __init__(self, p: float, factor: list[float]) -> None:
        self.p = check_probability("contrast", p)
        self.factor = check_range("contrast.factor", factor, at_least=0)

    def __call__(self, batch: Batch) -> Batch:
        """Scale and clip the selected samples in place."""
        for b, rng in selected_samples(batch, "contrast", self.p):
            factor = rng.uniform(*self.factor)
            for channel in batch.images[b]:
                # Tensor bounds avoid a synchronization with the GPU; on a CPU, minimum and maximum are several times
                # faster with them than clamp.
                low, high = torch.aminmax(channel)
                channel.mul_(factor)
                torch.minimum(channel, high, out=channel)
                torch.maximum(channel, low, out=channel)
        return batch


class ContrastAsReleased(Contrast):
    """Multiplies all channels by one random factor and clips to the range over all of them: the paper's code."""

    def __call__(self, batch: Batch) -> Batch:
        """Scale and clip the selected samples in place."""
        for b, rng in selected_samples(batch, "contrast", self.p):
            low, high = torch.aminmax(batch.images[b])
            scaled = batch.images[b].mul_(rng.uniform(*self.factor))
            torch.minimum(scaled, high, out=scaled)
            torch.maximum(scaled, low, out=scaled)
        return batch
