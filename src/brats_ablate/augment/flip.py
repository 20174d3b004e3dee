"""Mirroring along the axes: the paper's third augmentation."""

from __future__ import annotations

import torch

from brats_ablate.augment.draws import probability
from brats_ablate.cases import Batch
from brats_ablate.randomness import stream


class Flip:
    """Mirrors images, labels and foreground along each axis independently (paper section 2.2).

    Args:
        p: probability per axis; 0.5 in the paper.

    Raises:
        ConfigError: `p` is not a probability.
    """

    def __init__(self, p: float) -> None:
        self.p = probability("flip", p)

    def __call__(self, batch: Batch) -> Batch:
        for b, counters in enumerate(batch.counters):
            draws = stream(*counters, "flip").random(3)
            axes = [axis for axis, draw in enumerate(draws) if draw < self.p]
            if axes:
                # Volume by volume, not the sample at once: such a temporary is small enough for the allocator
                # to hand out again, and a fresh one costs more than the copy.
                for volume in (*batch.images[b], batch.foreground[b, 0], batch.labels[b]):
                    volume.copy_(torch.flip(volume, axes))
        return batch
