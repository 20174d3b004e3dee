"""The network's input channels: the modalities, with or without the paper's one-hot foreground channel.

The foreground is a separate mask during augmentation and becomes a channel only in `stack_channels`, right before the
network, so no intensity transform can change it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from brats_ablate.runtime.jit import jit
from brats_ablate.runtime.memory import empty_float32


class InputChannels(Protocol):
    """Builds the network's input from M modalities."""

    def count(self, modalities: int) -> int:
        """Return the input channels of a network that gets so many modalities."""
        ...

    def foreground_mask(self, non_zero: Tensor, images: Tensor) -> Tensor:
        """Compute the mask (B, 1, X, Y, Z) bool; the voxels that are non-zero in any raw modality by default.

        `non_zero` (B, 1, X, Y, Z) bool marks these voxels; `images` (B, M, X, Y, Z) are z-scored.
        """
        return non_zero

    def stack_channels(self, images: Tensor, foreground: Tensor) -> Tensor:
        """Build the input (B, C, X, Y, Z) from images (B, M, X, Y, Z) and the mask (B, 1, X, Y, Z) bool."""
        ...


class ModalitiesOnly(InputChannels):
    """The modalities.

    Args:
        modalities: names of those that the network gets, in order; None for all of the data set. They are selected
            where the case is read (see `jobs.build.input_modalities`), so that the images here have only these.
    """

    def __init__(self, modalities: Sequence[str] | None = None) -> None:
        self.modalities = modalities

    def count(self, modalities: int) -> int:
        """Return that number."""
        return modalities

    def stack_channels(self, images: Tensor, foreground: Tensor) -> Tensor:
        """Return the images."""
        return images


class WithForegroundMask(ModalitiesOnly):
    """The modalities and a channel that is 1 on the foreground (paper section 2.2)."""

    def count(self, modalities: int) -> int:
        """Return one more than that number."""
        return modalities + 1

    def stack_channels(self, images: Tensor, foreground: Tensor) -> Tensor:
        """Append the foreground to the images as last channel."""
        b, c, *spatial = images.shape
        stacked = empty_float32((b, c + 1, *spatial), images.device)
        stacked[:, :c] = images
        stacked[:, c:] = foreground
        return stacked


class WithForegroundMaskAsReleased(WithForegroundMask):
    """The one-hot channel as the paper's public code built it, to measure the effect of its mistake.

    It is computed after normalization as x > 0 in every modality: voxels brighter than average in all, of BraTS's
    four 0.7 to 7.8 % of the foreground (ten BraTS 2021 cases).
    """

    def foreground_mask(self, non_zero: Tensor, images: Tensor) -> Tensor:
        """Return the voxels that are positive in all z-scored modalities."""
        return (images > 0).all(dim=1, keepdim=True)


def non_zero_in_any(raw: Tensor) -> Tensor:
    """Return the voxels of raw (B, M, X, Y, Z) that are non-zero in any modality, (B, 1, X, Y, Z) bool."""
    if raw.device.type != "cpu":
        return (raw != 0).any(dim=1, keepdim=True)
    masks = np.empty((raw.shape[0], 1, raw[0, 0].numel()), np.bool_)
    for sample, mask in zip(raw.flatten(2).contiguous().numpy(), masks, strict=True):
        _mark_non_zero(sample, mask[0])
    return torch.from_numpy(masks).view(-1, 1, *raw.shape[2:])


@jit
def _mark_non_zero(modalities: np.ndarray, mask: np.ndarray) -> None:
    """(C, N) -> (N,) bool."""
    for i in range(mask.size):
        mask[i] = modalities[0, i] != 0
    for c in range(1, modalities.shape[0]):
        for i in range(mask.size):
            mask[i] |= modalities[c, i] != 0
