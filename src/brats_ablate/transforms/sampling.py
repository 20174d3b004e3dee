"""Random selection of the samples that a transform applies to, and argument checks shared by the transforms.

Each sample has its own random stream, keyed by its sample key and the transform's name. Its augmentation does not
depend on the other samples of the batch, and a change of one transform does not change the draws of the others.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from brats_ablate.cases import Batch
from brats_ablate.errors import ConfigError
from brats_ablate.runtime.random import rng_for


def selected_samples(batch: Batch, name: str, p: float) -> Iterator[tuple[int, np.random.Generator]]:
    """Yield position and random generator of every sample that transform `name` applies to, with probability `p`."""
    for position, sample_key in enumerate(batch.sample_keys):
        rng = rng_for(*sample_key, name)
        if rng.random() < p:
            yield position, rng


def check_probability(name: str, p: float) -> float:
    """Return `p`; raise ConfigError if it is not a probability."""
    if not 0 <= p <= 1:
        raise ConfigError(f"augment.transforms.{name}.p={p} must lie between 0 and 1")
    return p


def check_range(key: str, bounds: list[float], at_least: float) -> tuple[float, float]:
    """Return the bounds of a uniform distribution; raise ConfigError if invalid. `key` is transform and argument."""
    if len(bounds) != 2 or not at_least <= bounds[0] <= bounds[1]:
        raise ConfigError(
            f"augment.transforms.{key}={list(bounds)} must be two ascending numbers of at least {at_least:g}"
        )
    return bounds[0], bounds[1]


def parse_background(name: str, background: str) -> bool:
    """Return True for "keep" and False for "touch"; raise ConfigError otherwise. `name` is the transform's."""
    if background not in ("touch", "keep"):
        raise ConfigError(f"augment.transforms.{name}.background={background} must be touch or keep")
    return background == "keep"
