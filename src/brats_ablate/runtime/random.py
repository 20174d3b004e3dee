"""Counter-based randomness: every draw is a pure function of a seed and counters, independent of earlier draws.

A patch and its augmentation depend on (seed, epoch, index) alone, so a resumed run equals an uninterrupted one,
regardless of the number of workers, ranks and restarts.
"""

from __future__ import annotations

import hashlib

import numpy as np


def rng_for(*counters: int | str) -> np.random.Generator:
    """Return the random generator of `counters`, e.g. `rng_for(seed, epoch, index, "zoom")`."""
    return np.random.Generator(np.random.Philox(key=_digest(counters)))


def derive_seed(*counters: int | str) -> int:
    """Return the 63-bit seed of `counters`, for generators that take an integer (torch's)."""
    return _digest(counters) >> 65


def _digest(counters: tuple[int | str, ...]) -> int:
    return int.from_bytes(hashlib.blake2b(repr(counters).encode(), digest_size=16).digest(), "little")
