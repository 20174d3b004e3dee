"""Counter-based randomness: every draw is a pure function of a seed and of counters, never of what was drawn before.

A patch and its augmentation depend on (seed, epoch, index) alone, so a resumed run sees exactly what an
uninterrupted one sees, whatever the number of workers, ranks or kills.
"""

from __future__ import annotations

import hashlib

import numpy as np


def rng_for(*counters: int | str) -> np.random.Generator:
    """The random generator that belongs to `counters`, e.g. `stream(seed, "zoom", epoch, index)`."""
    return np.random.Generator(np.random.Philox(key=_digest(counters)))


def derive_seed(*counters: int | str) -> int:
    """A 63-bit seed that belongs to `counters`, for generators that take an integer (torch's)."""
    return _digest(counters) >> 65


def _digest(counters: tuple[int | str, ...]) -> int:
    return int.from_bytes(hashlib.blake2b(repr(counters).encode(), digest_size=16).digest(), "little")
