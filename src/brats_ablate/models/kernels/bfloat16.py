"""bfloat16 in compiled loops, which know it only as the 16 bits that it consists of.

Who changes `widened` or `narrowed` must delete the `__pycache__` folders: `merged` and `norm_activation` have them
compiled in (see `compiled`).
"""

from __future__ import annotations

from typing import cast

import numpy as np
import torch
from torch import Tensor

from brats_ablate.runtime import threads
from brats_ablate.runtime.jit import jit


def supports_numba(*tensors: Tensor) -> bool:
    """Whether (B, C, X, Y, Z) `tensors` can be given to compiled loops by `voxels_of`, and these have torch's threads.

    Not while a compiler traces, which makes loops of its own.
    """
    return (
        not torch.compiler.is_compiling()
        and all(
            t.device.type == "cpu"
            and t.dtype == torch.bfloat16
            and t.is_contiguous(memory_format=torch.channels_last_3d)
            for t in tensors
        )
        and threads.available()
    )


def voxels_of(x: Tensor) -> np.ndarray:
    """(B, C, X, Y, Z) bfloat16 in channels_last_3d as (B, X, Y, Z, C) uint16 that hold the same bits; a view."""
    return cast(np.ndarray, x.detach().view(torch.int16).permute(0, 2, 3, 4, 1).numpy().view(np.uint16))


@jit
def bf16_to_f32(bits: int) -> np.float32:
    """The value of a bfloat16."""
    return np.uint32(np.uint32(bits) << np.uint32(16)).view(np.float32)


@jit
def f32_to_bf16(value: float) -> np.uint16:
    """The nearest bfloat16, of two the even one, as torch rounds; not a number stays not a number."""
    bits = np.float32(value).view(np.uint32)
    odd = np.uint32(np.uint32(bits >> np.uint32(16)) & np.uint32(1))
    rounded = np.uint32(np.uint32(np.uint32(bits + odd) + np.uint32(0x7FFF)) >> np.uint32(16))
    return np.uint16(rounded if value == value else np.uint32(0x7FC0))
