"""Test-time augmentation: the mean of a predictor over flips of the volume.

Wraps the window (`sliding_window`, `whole_volume`), so the whole volume is flipped, not each window.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import torch
from torch import Tensor

Predict = Callable[[Tensor], Tensor]


class NoTTA:
    """`tta: none`: no augmentation."""

    def __call__(self, predict: Predict, volume: Tensor) -> Tensor:
        """Return `predict(volume)`; (1, C, X, Y, Z) -> (1, K, X, Y, Z)."""
        return predict(volume)


class FlipTTA:
    """The paper's test-time augmentation (section 2.5): the mean over all eight flips.

    The paper averages probabilities, the released code logits (`inference.average`).
    """

    def __call__(self, predict: Predict, volume: Tensor) -> Tensor:
        """Average `predict` over the eight flips, each flipped back; (1, C, X, Y, Z) -> (1, K, X, Y, Z)."""
        total = predict(volume).clone()
        for flipped in list(product((False, True), repeat=3))[1:]:
            axes = [axis for axis, flip in zip((2, 3, 4), flipped, strict=True) if flip]
            total += torch.flip(predict(torch.flip(volume, axes)), axes)
        return total.div_(8)
