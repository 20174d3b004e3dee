"""From patches as read to the network's input: flip, normalize, augment, stack channels (paper section 2.2).

The store keeps raw int16 values. They are transferred as stored, half the bytes of float32, and flipped and normalized
on the device, for the voxels of the patch only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from brats_ablate.cases import Batch, CaseMetadata, Patch
from brats_ablate.runtime.memory import empty_float32, to_device
from brats_ablate.transforms.compose import Compose
from brats_ablate.transforms.flip import flip, flip_samples
from brats_ablate.transforms.foreground import InputChannels, non_zero_in_any
from brats_ablate.transforms.nnunet_input import NnunetInput
from brats_ablate.transforms.normalize import normalize, normalize_volume


@dataclass(frozen=True)
class BatchPipeline:
    """Patches of one shape to a training batch on `device`."""

    augment: Compose
    channels: InputChannels
    device: torch.device

    def __call__(self, patches: Sequence[Patch]) -> tuple[Tensor, Tensor]:
        """Return images (B, C, X, Y, Z) in channels_last_3d and labels (B, X, Y, Z) uint8."""
        batch = self.augment.augmented_input(self.collate(patches), self.channels)
        return batch.images.contiguous(memory_format=torch.channels_last_3d), batch.labels

    def collate(self, patches: Sequence[Patch]) -> Batch:
        """Transfer, flip and normalize; the batch shares no memory with the patches, so transforms work in place."""
        raw = _transfer([patch.images for patch in patches], self.device)
        dropped = [self.augment.dropped_channels(patch.sample_key, raw.shape[1]) for patch in patches]
        if any(dropped):
            raw = raw.clone()  # a single patch shares its memory
            for sample, own in zip(raw, dropped, strict=True):
                for channel in own:
                    sample[channel].zero_()
        labels = _transfer([patch.labels for patch in patches], self.device)
        sample_keys = [patch.sample_key for patch in patches]
        axes = [self.augment.flip_axes(key) for key in sample_keys]
        non_zero = flip_samples(non_zero_in_any(raw), axes)  # first, while the patches are still in the cache
        images = empty_float32(tuple(raw.shape), self.device)
        for b, patch in enumerate(patches):
            for c, volume in enumerate(raw[b]):  # by volume, so that it is still in the cache when it is normalized
                normalize_volume(flip(volume, axes[b]), patch.mean[c], patch.std[c], out=images[b, c])
        foreground = _foreground_mask(self.channels, non_zero, images, dropped)
        return Batch(images, foreground, flip_samples(labels, axes), sample_keys, dropped)


def case_input(images: np.ndarray, record: CaseMetadata, channels: InputChannels, device: torch.device) -> Tensor:
    """Return the network's input (1, C, X, Y, Z) on `device` for a whole case's raw images (M, X, Y, Z).

    A modality whose `record.std` is 0 is one that the case lacks.
    """
    raw = to_device(torch.from_numpy(images), device)
    if isinstance(channels, NnunetInput):
        return channels.case_input(raw)
    normalized = normalize(raw, record.mean, record.std)[None]
    absent = tuple(channel for channel, std in enumerate(record.std) if std == 0)
    foreground = _foreground_mask(channels, non_zero_in_any(raw[None]), normalized, [absent])
    return channels.stack_channels(normalized, foreground)


def _foreground_mask(
    channels: InputChannels, non_zero: Tensor, images: Tensor, absent: Sequence[Sequence[int]]
) -> Tensor:
    """Compute the mask of each sample from those modalities that are not `absent` in it, (B, 1, X, Y, Z) bool."""
    if not any(absent):
        return channels.foreground_mask(non_zero, images)
    present = [[c for c in range(images.shape[1]) if c not in own] for own in absent]
    masks = [channels.foreground_mask(non_zero[b : b + 1], images[b : b + 1, rows]) for b, rows in enumerate(present)]
    return torch.cat(masks)


def _transfer(arrays: Sequence[np.ndarray], device: torch.device) -> Tensor:
    """Stack arrays on `device`; in pinned memory for a GPU. A single array that stays on the CPU is not copied."""
    if device.type != "cuda":
        return to_device(torch.from_numpy(np.stack(arrays) if len(arrays) > 1 else arrays[0][None]), device)
    dtype = torch.from_numpy(np.empty(0, np.result_type(*arrays))).dtype
    pinned = torch.empty((len(arrays), *arrays[0].shape), dtype=dtype, pin_memory=True)
    for target, array in zip(pinned, arrays, strict=True):
        target.copy_(torch.from_numpy(array))
    return to_device(pinned, device)
