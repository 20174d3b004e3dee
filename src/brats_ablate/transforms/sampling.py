"""Which samples of a batch a transform applies to, and the checks that the transforms share.

Each sample draws from its own random stream, keyed by its counters and the transform's name: its augmentation
does not depend on the samples beside it, and a change of one transform leaves the draws of the others alone.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from brats_ablate.cases import Batch
from brats_ablate.errors import ConfigError
from brats_ablate.runtime.random import rng_for


def selected_samples(batch: Batch, name: str, p: float) -> Iterator[tuple[int, np.random.Generator]]:
    """Position and random stream of every sample that is drawn for transform `name`, with probability `p`."""
    for position, counters in enumerate(batch.counters):
        rng = rng_for(*counters, name)
        if rng.random() < p:
            yield position, rng


def check_probability(name: str, p: float) -> float:
    """`p`, or a ConfigError if it is not a probability."""
    if not 0 <= p <= 1:
        raise ConfigError(f"augment.transforms.{name}.p={p} must lie between 0 and 1")
    return p


def check_range(key: str, bounds: list[float], at_least: float) -> tuple[float, float]:
    """The two ends of a uniform distribution, or a ConfigError; `key` is transform and argument."""
    if len(bounds) != 2 or not at_least <= bounds[0] <= bounds[1]:
        raise ConfigError(
            f"augment.transforms.{key}={list(bounds)} must be two ascending numbers of at least {at_least:g}"
        )
    return bounds[0], bounds[1]


def parse_background(name: str, background: str) -> bool:
    """True for "keep", False for "touch", else a ConfigError; `name` is the transform's."""
    if background not in ("touch", "keep"):
        raise ConfigError(f"augment.transforms.{name}.background={background} must be touch or keep")
    return background == "keep"
