"""Separable linear filters and resampling as products with banded matrices, one per axis.

Zoom and blur both multiply every axis of a volume by a matrix whose non-zero entries lie in a narrow band. A
matrix product is the fastest way to such a filter on CPUs and GPUs alike; on a CPU the band is cut into
blocks of rows, so that little is multiplied by zero.
"""

from __future__ import annotations

import numpy as np
import torch

_ROWS = 16
"""Rows per block on a CPU: the fastest of 8, 16, 32, 64 and 128 for 128³ patches."""


def filter_in_place(volumes: torch.Tensor, matrices: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    """Multiplies each axis of each volume by its matrix.

    Args:
        volumes: (C, X, Y, Z) float32, each volume contiguous; overwritten.
        matrices: float64, (X, X), (Y, Y) and (Z, Z); a row holds the weights of one output voxel.
    """
    x, y, z = (_Banded(matrix, volumes.device) for matrix in matrices)
    first, second = torch.empty_like(volumes[0]), torch.empty_like(volumes[0])
    for volume in volumes:
        # Each product takes the last axis and puts the new one first, so three of them restore the order.
        z.multiply_last_axis(volume, out=first)
        y.multiply_last_axis(first, out=second)
        x.multiply_last_axis(second, out=volume)


class _Banded:
    """A square matrix (n, n), as blocks of rows without the zero columns at either side of the band."""

    def __init__(self, matrix: np.ndarray, device: torch.device) -> None:
        self.n = len(matrix)
        step = _ROWS if device.type == "cpu" else self.n
        weights = torch.from_numpy(matrix.astype(np.float32)).to(device)
        self.blocks: list[tuple[slice, slice, torch.Tensor]] = []
        for first in range(0, self.n, step):
            rows = slice(first, first + step)
            used = np.flatnonzero(matrix[rows].any(axis=0))
            columns = slice(int(used[0]), int(used[-1]) + 1)
            self.blocks.append((rows, columns, weights[rows, columns]))

    def multiply_last_axis(self, source: torch.Tensor, out: torch.Tensor) -> None:
        """Reads `source` as (…, n) and writes `out` as (n, …); only their order of voxels counts."""
        source, out = source.view(-1, self.n), out.view(self.n, -1)
        for rows, columns, weights in self.blocks:
            torch.mm(weights, source[:, columns].t(), out=out[rows])
