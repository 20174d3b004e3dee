"""Separable linear filters and resampling: one banded matrix per axis.

Zoom and blur both multiply every axis of a volume by a matrix whose non-zero entries lie in a narrow band. On a GPU a
dense product is fastest. On a CPU it is a sum over the band, plane by plane, so that intermediate results stay in the
cache.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import torch

from brats_ablate.runtime.jit import jit
from brats_ablate.runtime.memory import to_device

Matrices = tuple[np.ndarray, np.ndarray, np.ndarray]

_TOGETHER = 4
"""Entries of a band that the loops below add up at a time."""
_1, _2, _3 = np.uint64(1), np.uint64(2), np.uint64(3)


def filter_in_place(volumes: torch.Tensor, matrices: Matrices) -> None:
    """Multiply each axis of each volume (C, X, Y, Z), float32 and contiguous, by its matrix, in place.

    The matrices are float64, (X, X), (Y, Y) and (Z, Z); a row contains the weights of one output voxel.
    """
    (band_filter if volumes.device.type == "cpu" else dense_filter)(volumes, matrices)


def dense_filter(volumes: torch.Tensor, matrices: Matrices) -> None:
    """Compute `filter_in_place` by dense products, on any device."""
    x, y, z = (to_device(torch.from_numpy(matrix.astype(np.float32)), volumes.device) for matrix in matrices)
    first, second = torch.empty_like(volumes[0]), torch.empty_like(volumes[0])
    with _without_tf32():
        for volume in volumes:
            # Each product consumes the last axis and puts the new one first, so three of them restore the order.
            for matrix, source, out in ((z, volume, first), (y, first, second), (x, second, volume)):
                n = len(matrix)
                torch.mm(matrix, source.view(-1, n).t(), out=out.view(n, -1))


@contextmanager
def _without_tf32() -> Iterator[None]:
    """Compute products in full precision, also where the network's have a mantissa of 10 bits."""
    products = torch.backends.cuda.matmul
    before, products.allow_tf32 = products.allow_tf32, False
    try:
        yield
    finally:
        products.allow_tf32 = before


class Band(NamedTuple):
    """A matrix (n, n) without the zeros on either side of its band."""

    first: np.ndarray
    """(n,) uint64, the column of each row's first entry."""
    weights: np.ndarray
    """(n, T) float32, T a multiple of `_TOGETHER`; 0 beyond the matrix."""

    @classmethod
    def of(cls, matrix: np.ndarray) -> Band:
        """Extract the band of a dense matrix."""
        n, used = len(matrix), matrix != 0
        first, end = used.argmax(axis=1), n - used[:, ::-1].argmax(axis=1)
        width = -(-int((end - first).max()) // _TOGETHER) * _TOGETHER
        columns = first[:, None] + np.arange(width)
        weights = np.take_along_axis(np.pad(matrix, ((0, 0), (0, width))), columns, axis=1)
        return cls(first.astype(np.uint64), weights.astype(np.float32))

    @property
    def toeplitz_rows(self) -> np.ndarray:
        """The row range (2,) uint64 in which the matrix is Toeplitz: equal weights, shifted by one voxel per row."""
        middle = len(self.first) // 2
        equal = (self.weights == self.weights[middle]).all(axis=1)
        equal &= self.first.astype(np.int64) - self.first[middle] == np.arange(len(self.first)) - middle
        others = np.flatnonzero(~equal)
        before, after = others[others < middle], others[others > middle]
        start, end = (before[-1] + 1 if before.size else 0), (after[0] if after.size else len(equal))
        # A band off the diagonal would read further beyond the volume than `_filter` has columns for.
        near = self.first[middle] <= middle < self.first[middle] + self.weights.shape[1]
        return np.array([start, end] if near and end - start > len(equal) // 2 else [0, 0], np.uint64)


def band_filter(volumes: torch.Tensor, matrices: Matrices) -> None:
    """Compute `filter_in_place` by sums over the bands, on a CPU."""
    x, y, z = (Band.of(matrix) for matrix in matrices)
    shifted = Band(z.first + np.uint64(z.weights.shape[1]), np.ascontiguousarray(z.weights.T))
    result = np.empty(volumes.shape[1:], np.float32)
    for volume in volumes:
        _filter(volume.numpy(), result, x, y, shifted, z.toeplitz_rows)
        volume.copy_(torch.from_numpy(result))


@jit
def _filter(volume: np.ndarray, result: np.ndarray, x: Band, y: Band, z: Band, toeplitz_rows: np.ndarray) -> None:
    """Filter (X, Y, Z) into `result`; the weights of `z` are (T, Z), the others (n, T)."""
    n_x, n_y, n_z = volume.shape
    start, end = np.uint64(0), np.uint64(n_z)
    low, high = y.first.min(), min(y.first.max() + np.uint64(y.weights.shape[1]), np.uint64(n_y))
    planes = volume.reshape(n_x, n_y * n_z)
    after_x = np.zeros((n_y, n_z), np.float32)
    margin = np.uint64(z.weights.shape[0])  # columns of 0 on both sides, as a band may reach beyond the volume
    after_y = np.zeros((n_y, n_z + 2 * z.weights.shape[0]), np.float32)
    for i in range(n_x):
        plane = after_x.reshape(1, n_y * n_z)
        _add_rows(planes, Band(x.first[i : i + 1], x.weights[i : i + 1]), plane, low * end, high * end, start)
        _add_rows(after_x, y, after_y, start, end, margin)
        if toeplitz_rows[1] > toeplitz_rows[0]:
            _along_toeplitz_rows(after_y, z, toeplitz_rows, result[i])
        else:
            _along_rows(after_y, z, start, end, result[i])


# The loops below count in unsigned integers. Signed ones may count from the end in Python, so the compiler does not
# recognize reads of neighboring voxels and does not vectorize.


@jit
def _add_rows(
    rows: np.ndarray, band: Band, out: np.ndarray, start: np.uint64, end: np.uint64, shift: np.uint64
) -> None:
    """out[j, k + shift] = Σ weights[j, t] · rows[first[j] + t, k], for k from `start` to `end`."""
    first, weights = band.first, band.weights
    last = np.uint64(rows.shape[0] - 1)
    for j in range(np.uint64(out.shape[0])):
        for t in range(np.uint64(0), np.uint64(weights.shape[1]), np.uint64(4)):
            a = min(first[j] + t, last)
            b, c, d = min(a + _1, last), min(a + _2, last), min(a + _3, last)
            u, v, w, x = weights[j, t], weights[j, t + _1], weights[j, t + _2], weights[j, t + _3]
            if t == 0:
                for k in range(start, end):
                    out[j, k + shift] = u * rows[a, k] + v * rows[b, k] + w * rows[c, k] + x * rows[d, k]
            else:
                for k in range(start, end):
                    out[j, k + shift] += u * rows[a, k] + v * rows[b, k] + w * rows[c, k] + x * rows[d, k]


@jit
def _along_rows(rows: np.ndarray, band: Band, start: np.uint64, end: np.uint64, out: np.ndarray) -> None:
    """out[j, k] = Σ weights[t, k] · rows[j, first[k] + t], for k from `start` to `end`.

    Four rows at a time share the reads of `first` and `weights`.
    """
    first, weights, height = band.first, band.weights, np.uint64(out.shape[0])
    for j in range(np.uint64(0), height, np.uint64(4)):
        # The last rows may be computed twice.
        j0, j1, j2, j3 = j, min(j + _1, height - _1), min(j + _2, height - _1), min(j + _3, height - _1)
        for k in range(start, end):
            p, q, r, s = np.float32(0), np.float32(0), np.float32(0), np.float32(0)
            for t in range(np.uint64(0), np.uint64(weights.shape[0]), np.uint64(4)):
                a = first[k] + t
                u, v, w, x = weights[t, k], weights[t + _1, k], weights[t + _2, k], weights[t + _3, k]
                p += u * rows[j0, a] + v * rows[j0, a + _1] + w * rows[j0, a + _2] + x * rows[j0, a + _3]
                q += u * rows[j1, a] + v * rows[j1, a + _1] + w * rows[j1, a + _2] + x * rows[j1, a + _3]
                r += u * rows[j2, a] + v * rows[j2, a + _1] + w * rows[j2, a + _2] + x * rows[j2, a + _3]
                s += u * rows[j3, a] + v * rows[j3, a + _1] + w * rows[j3, a + _2] + x * rows[j3, a + _3]
            out[j0, k], out[j1, k], out[j2, k], out[j3, k] = p, q, r, s


@jit
def _along_toeplitz_rows(rows: np.ndarray, band: Band, toeplitz_rows: np.ndarray, out: np.ndarray) -> None:
    """Compute `_along_rows` for whole rows of a matrix that is Toeplitz between toeplitz_rows[0] and toeplitz_rows[1].

    The row is computed as if it were Toeplitz throughout, then its ends are computed again.
    """
    first, weights = band.first, band.weights
    start, end, n_z = toeplitz_rows[0], toeplitz_rows[1], np.uint64(out.shape[1])
    for j in range(np.uint64(out.shape[0])):
        for t in range(np.uint64(0), np.uint64(weights.shape[0]), np.uint64(4)):
            u, v, w, x = weights[t, start], weights[t + _1, start], weights[t + _2, start], weights[t + _3, start]
            shift = first[start] - start + t
            for k in range(n_z):
                a = k + shift
                part = u * rows[j, a] + v * rows[j, a + _1] + w * rows[j, a + _2] + x * rows[j, a + _3]
                out[j, k] = part if t == 0 else out[j, k] + part
    _along_rows(rows, band, np.uint64(0), start, out)
    _along_rows(rows, band, end, n_z, out)
