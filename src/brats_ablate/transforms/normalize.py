"""Z-scoring of the non-zero voxels of each modality (paper section 2.2)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from brats_ablate.runtime.jit import jit
from brats_ablate.runtime.memory import empty_float32


def normalize(raw: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """Z-score the non-zero voxels of every modality, (M, X, Y, Z) of any real type to float32 on the same device.

    `mean` and `std` are those of each modality's non-zero voxels. Zero voxels stay 0; where `std` is 0, all become 0.
    """
    images = empty_float32(tuple(raw.shape), raw.device)
    for volume, m, s, out in zip(raw, mean, std, images, strict=True):
        normalize_volume(volume, m, s, out)
    return images


def normalize_volume(raw: Tensor, mean: float, std: float, out: Tensor) -> None:
    """Z-score one modality, (X, Y, Z) of any real type, into `out`, contiguous float32 on the same device."""
    m, s = np.float32(mean), np.float32(std)
    scale = np.float32(1) / s if s > 0 else np.float32(0)
    if raw.device.type == "cpu":
        _z_score(raw.contiguous().view(-1).numpy(), m, scale, out.view(-1).numpy())
    else:
        z_score_on_device(raw, float(m), float(scale), out)


def z_score_on_device(raw: Tensor, mean: float, scale: float, out: Tensor) -> None:
    """Compute `normalize_volume` by torch's operations, on any device."""
    torch.mul(raw.float() - mean, scale, out=out).masked_fill_(raw == 0, 0)


@jit
def _z_score(raw: np.ndarray, mean: np.float32, scale: np.float32, out: np.ndarray) -> None:
    for i in range(raw.size):
        value = raw[i]
        out[i] = (np.float32(value) - mean) * scale if value != 0 else np.float32(0)
