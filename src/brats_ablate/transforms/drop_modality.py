"""Modality dropout: trains one network for cases that lack modalities."""

from __future__ import annotations

import numpy as np

from brats_ablate.cases import SampleKey
from brats_ablate.runtime.random import rng_for
from brats_ablate.transforms.sampling import check_probability


class DropModality:
    """Leaves out each modality of a sample independently, but never all of them.

    A dropped modality is what `job=predict` passes for one that a case lacks: a channel of 0 in the network's input,
    whatever the other transforms add to it, and no part of the foreground mask, which is made from the others.

    Args:
        p: probability per modality. Where all of them are drawn, one at random stays.

    Raises:
        ConfigError: `p` is not a probability.
    """

    def __init__(self, p: float) -> None:
        self.p = check_probability("drop_modality", p)

    def channels(self, sample_key: SampleKey, count: int) -> tuple[int, ...]:
        """Draw the dropped channels of a sample that has `count` modalities; at most count − 1, ascending."""
        rng = rng_for(*sample_key, "drop_modality")
        drawn = np.flatnonzero(rng.random(count) < self.p).tolist()
        if len(drawn) == count:
            del drawn[rng.integers(count)]
        return tuple(drawn)
