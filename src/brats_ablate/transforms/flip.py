"""Mirroring along the axes: the paper's third augmentation."""

from __future__ import annotations

from dataclasses import replace

from brats_ablate.cases import Patch
from brats_ablate.runtime.random import rng_for
from brats_ablate.transforms.sampling import check_probability


class Flip:
    """Mirrors images, labels and foreground along each axis independently (paper section 2.2).

    Done to the stored values, before the batch exists: a mirror image can be normalised or enlarged about its centre
    as well as a volume can be mirrored afterwards, and the stored values are half as large.

    Args:
        p: probability per axis; 0.5 in the paper.

    Raises:
        ConfigError: `p` is not a probability.
    """

    def __init__(self, p: float) -> None:
        self.p = check_probability("flip", p)

    def on_patch(self, patch: Patch) -> Patch:
        """The patch, marked for what is drawn for it."""
        draws = rng_for(*patch.counters, "flip").random(3)
        return replace(patch, mirrored=tuple(axis for axis, draw in enumerate(draws) if draw < self.p))
