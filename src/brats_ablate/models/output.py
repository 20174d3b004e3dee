"""What every network returns, in training and in evaluation: the seam between `models` and `losses`."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class Output(NamedTuple):
    """A network's answer.

    logits: one (B, K, X, Y, Z) per head, finest first; head i has the spatial shape of the input divided by
        2^i.
    extras: what an auxiliary loss needs besides, by name (`SegResNetVAE`, in training); else empty.
    """

    logits: list[Tensor]
    extras: dict[str, Tensor]
