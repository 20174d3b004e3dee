"""Test-time augmentation: the mean of what a predictor returns for a volume and for its mirror images.

On the flow: wraps the window (`sliding_window`, `whole_volume`), so a whole volume is mirrored, not each window.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import torch
from torch import Tensor

Predict = Callable[[Tensor], Tensor]


class NoTTA:
    """`tta: none`: the volume as it is."""

    def __call__(self, predict: Predict, volume: Tensor) -> Tensor:
        """`predict(volume)`; (1, C, X, Y, Z) -> (1, K, X, Y, Z)."""
        return predict(volume)


class FlipTTA:
    """The paper's test-time augmentation (section 2.5): all eight mirror images, probabilities averaged."""

    def __call__(self, predict: Predict, volume: Tensor) -> Tensor:
        """The mean over the eight flips of `predict`, each mirrored back; (1, C, X, Y, Z) -> (1, K, X, Y, Z)."""
        total = predict(volume).clone()
        for flipped in list(product((False, True), repeat=3))[1:]:
            axes = [axis for axis, flip in zip((2, 3, 4), flipped, strict=True) if flip]
            total += torch.flip(predict(torch.flip(volume, axes)), axes)
        return total.div_(8)
