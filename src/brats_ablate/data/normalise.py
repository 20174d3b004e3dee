"""From raw patches to a normalised batch on the training device: the last thing done before augmentation.

The store keeps raw values, so z-scoring happens here, on the device, for the voxels of the patch only; what
is transferred is the stored int16, half the bytes of float32.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from brats_ablate.cases import Batch, Patch
from brats_ablate.data.inputs import Inputs
from brats_ablate.data.memory import new_float32

_CHUNK = 1 << 17
"""Voxels normalised at a time on the CPU: all passes over them stay in the second-level cache."""


def normalise(raw: torch.Tensor, mean: torch.Tensor, std: torch.Tensor) -> torch.Tensor:
    """Z-scores the non-zero voxels of every modality; zero voxels stay 0 (paper section 2.2).

    Args:
        raw: (B, 4, X, Y, Z), any real type.
        mean: (B, 4), over each modality's non-zero voxels.
        std: (B, 4); a modality with a standard deviation of 0 becomes 0.

    Returns:
        (B, 4, X, Y, Z) float32, on the device of `raw`.
    """
    scale = torch.where(std > 0, 1 / std, torch.zeros_like(std))
    if raw.device.type == "cpu":
        return _normalise_in_chunks(raw.contiguous(), mean, scale)
    m, s = (t.to(raw.device, torch.float32, non_blocking=True)[:, :, None, None, None] for t in (mean, scale))
    return torch.where(raw != 0, (raw.float() - m) * s, 0)


def to_batch(patches: Sequence[Patch], inputs: Inputs, device: torch.device | str) -> Batch:
    """Collates patches of one shape, moves them to `device` as stored, and normalises them there.

    The batch shares no memory with the patches, so augmentation may work in place.
    """
    device = torch.device(device)
    raw = _transfer([patch.images for patch in patches], device)
    labels = _transfer([patch.labels for patch in patches], device)
    mean = torch.tensor([patch.mean for patch in patches], dtype=torch.float32)
    std = torch.tensor([patch.std for patch in patches], dtype=torch.float32)
    images = normalise(raw, mean, std)
    return Batch(
        images=images,
        foreground=inputs.foreground(raw, images),
        labels=labels.clone(),  # unlike the images, they may still be the patch's own memory
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


def _normalise_in_chunks(raw: torch.Tensor, mean: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    images = new_float32(tuple(raw.shape), raw.device)
    non_zero = torch.empty(_CHUNK)
    for b, c in np.ndindex(raw.shape[0], raw.shape[1]):
        m, s = mean[b, c].item(), scale[b, c].item()
        chunks = zip(raw[b, c].view(-1).split(_CHUNK), images[b, c].view(-1).split(_CHUNK), strict=True)
        for source, target in chunks:
            mask = torch.ne(target.copy_(source), 0, out=non_zero[: target.numel()])
            # (raw - m)·s where raw is not 0, in one pass less than the formula as it stands.
            target.mul_(s).add_(mask, alpha=-m * s)
    return images
