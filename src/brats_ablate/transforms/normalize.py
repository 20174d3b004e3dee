"""From raw patches to a normalised batch on the training device: the last thing done before augmentation.

The store keeps raw values, so z-scoring happens here, on the device, for the voxels of the patch only; what
is transferred is the stored int16, half the bytes of float32.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from brats_ablate.cases import Batch, Patch
from brats_ablate.runtime.jit import jit
from brats_ablate.runtime.memory import empty_float32
from brats_ablate.transforms.foreground import Inputs


def normalize(
    raw: torch.Tensor, mean: torch.Tensor, std: torch.Tensor, mirrored: Sequence[Sequence[int]] | None = None
) -> torch.Tensor:
    """Z-scores the non-zero voxels of every modality; zero voxels stay 0 (paper section 2.2).

    Args:
        raw: (B, 4, X, Y, Z), any real type.
        mean: (B, 4), over each modality's non-zero voxels.
        std: (B, 4); a modality with a standard deviation of 0 becomes 0.
        mirrored: per sample, the axes (0, 1, 2) to mirror it along.

    Returns:
        (B, 4, X, Y, Z) float32, on the device of `raw`.
    """
    scale = torch.where(std > 0, 1 / std, torch.zeros_like(std))
    if raw.device.type != "cpu":
        raw = mirror(raw, mirrored) if mirrored else raw
        m, s = (t.to(raw.device, torch.float32, non_blocking=True)[:, :, None, None, None] for t in (mean, scale))
        return torch.where(raw != 0, (raw.float() - m) * s, 0)
    images = empty_float32(tuple(raw.shape), raw.device)
    axes = mirrored or [()] * len(raw)
    for b, c in np.ndindex(raw.shape[0], raw.shape[1]):
        # Volume by volume, so that what is mirrored is still in the cache when it is normalised.
        source = torch.flip(raw[b, c], list(axes[b])) if axes[b] else raw[b, c].contiguous()
        _score(source.view(-1).numpy(), np.float32(mean[b, c]), np.float32(scale[b, c]), images[b, c].view(-1).numpy())
    return images


@jit
def _score(raw: np.ndarray, mean: float, scale: float, out: np.ndarray) -> None:
    for i in range(raw.size):
        value = raw[i]
        out[i] = (np.float32(value) - mean) * scale if value != 0 else np.float32(0)


def non_zero_in_any(raw: torch.Tensor) -> torch.Tensor:
    """(B, 4, X, Y, Z) -> (B, 1, X, Y, Z) bool: voxels that are non-zero in any modality."""
    if raw.device.type != "cpu":
        return (raw != 0).any(dim=1, keepdim=True)
    found = np.empty((raw.shape[0], 1, raw[0, 0].numel()), np.bool_)
    for sample, mask in zip(raw.flatten(2).contiguous().numpy(), found, strict=True):
        _mark_non_zero(sample, mask[0])
    return torch.from_numpy(found).view(-1, 1, *raw.shape[2:])


@jit
def _mark_non_zero(modalities: np.ndarray, found: np.ndarray) -> None:
    """(C, N) -> (N,) bool."""
    for i in range(found.size):
        found[i] = modalities[0, i] != 0
    for c in range(1, modalities.shape[0]):
        for i in range(found.size):
            found[i] |= modalities[c, i] != 0


def mirror(samples: torch.Tensor, axes: Sequence[Sequence[int]]) -> torch.Tensor:
    """A copy of (B, ..., X, Y, Z), each sample mirrored along its own spatial axes (0, 1, 2)."""
    mirrored = torch.empty_like(samples)
    for source, target, own in zip(samples, mirrored, axes, strict=True):
        target.copy_(torch.flip(source, [source.dim() - 3 + axis for axis in own]) if own else source)
    return mirrored


def to_batch(patches: Sequence[Patch], inputs: Inputs, device: torch.device | str) -> Batch:
    """Collates patches of one shape, moves them to `device` as stored, mirrors and normalises them there.

    The batch shares no memory with the patches, so augmentation may work in place.
    """
    device = torch.device(device)
    raw = _transfer([patch.images for patch in patches], device)
    labels = _transfer([patch.labels for patch in patches], device)
    mean = torch.tensor([patch.mean for patch in patches], dtype=torch.float32)
    std = torch.tensor([patch.std for patch in patches], dtype=torch.float32)
    axes = [patch.mirrored for patch in patches]
    non_zero = mirror(non_zero_in_any(raw), axes)  # first, while what was read is still in the cache
    images = normalize(raw, mean, std, axes)
    return Batch(
        images=images,
        foreground=inputs.foreground(non_zero, images),
        labels=mirror(labels, axes),
        counters=[patch.counters for patch in patches],
        case_ids=[patch.case_id for patch in patches],
    )


def _transfer(arrays: Sequence[np.ndarray], device: torch.device) -> torch.Tensor:
    """Stacks arrays on `device`; through pinned memory, so that copying to a GPU does not block the host.

    A single array that stays on the CPU is not copied.
    """
    if device.type != "cuda":
        return torch.from_numpy(np.stack(arrays) if len(arrays) > 1 else arrays[0][None]).to(device)
    kind = torch.from_numpy(np.empty(0, np.result_type(*arrays))).dtype
    pinned = torch.empty((len(arrays), *arrays[0].shape), dtype=kind, pin_memory=True)
    for target, array in zip(pinned, arrays, strict=True):
        target.copy_(torch.from_numpy(array))
    return pinned.to(device, non_blocking=True)
