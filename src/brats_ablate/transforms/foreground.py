"""What the network sees beside the modalities: the paper's one-hot foreground channel, or nothing.

The foreground travels through augmentation as a mask of its own and becomes a channel only in `assemble`,
right before the network, so no intensity operation can touch it.
"""

from __future__ import annotations

from typing import Protocol

import torch

from brats_ablate.labels import MODALITIES
from brats_ablate.runtime.memory import empty_float32


class Inputs(Protocol):
    """Makes the network's input of the modalities."""

    @property
    def channels(self) -> int:
        """Input channels of the network."""
        ...

    def foreground(self, non_zero: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
        """(B, 1, X, Y, Z) bool of raw values, non-zero in any modality, and (B, 4, X, Y, Z) z-scored ones
        -> (B, 1, X, Y, Z) bool."""
        ...

    def assemble(self, images: torch.Tensor, foreground: torch.Tensor) -> torch.Tensor:
        """(B, 4, X, Y, Z) and (B, 1, X, Y, Z) bool -> (B, C, X, Y, Z), the network's input."""
        ...


class ModalitiesOnly:
    """The four modalities."""

    @property
    def channels(self) -> int:
        return len(MODALITIES)

    def foreground(self, non_zero: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
        """Voxels that are non-zero in any raw modality."""
        return non_zero

    def assemble(self, images: torch.Tensor, foreground: torch.Tensor) -> torch.Tensor:
        """The images alone."""
        return images


class WithForegroundMask:
    """The four modalities and a channel that is 1 on the foreground (paper section 2.2)."""

    @property
    def channels(self) -> int:
        return len(MODALITIES) + 1

    def foreground(self, non_zero: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
        """Voxels that are non-zero in any raw modality."""
        return non_zero

    def assemble(self, images: torch.Tensor, foreground: torch.Tensor) -> torch.Tensor:
        """The images and, as last channel, the foreground."""
        b, c, *spatial = images.shape
        assembled = empty_float32((b, c + 1, *spatial), images.device)
        assembled[:, :c] = images
        assembled[:, c:] = foreground
        return assembled


class WithForegroundMaskAsReleased(WithForegroundMask):
    """The one-hot channel as the paper's public code built it, to measure what the slip costs.

    Computed after normalising, as x > 0 in every modality: voxels brighter than average in all four, 6 to 37
    % of the foreground.
    """

    def foreground(self, non_zero: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
        """Voxels that are positive in all z-scored modalities."""
        return (images > 0).all(dim=1, keepdim=True)
