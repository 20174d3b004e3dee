"""nnU-Net's sliding window, for its imported networks."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import chain, combinations, product

import torch
from torch import Tensor

from brats_ablate.cases import shape3d
from brats_ablate.inference.sliding_window import pad_centered
from brats_ablate.runtime.memory import to_device

_PEAK = 10
"""Of the weights; large, as their sums are float16."""


class NnunetWindow:
    """Windows of the patch's shape as nnU-Net v2 places, weights and mirrors them.

    Unlike `SlidingWindow`, windows are spread evenly, and each is averaged over its mirrored versions before the next.
    The Gaussian's center is at half the edge, rounded down. Weights and sums are float16, added in nnU-Net's order:
    rounding decides voxels whose classes are equally probable, and those at the volume's edges, where weights are tiny.

    Args:
        patch_shape: the window, in voxels; the job passes the training patch's shape.
        overlap: the fraction of a window that it shares with its neighbor at least, in [0, 1); nnU-Net's is 0.5.
        mirror_axes: of (0, 1, 2) for X, Y, Z, those that are mirrored, alone and together; [] for none.
        axis_order: the same axes in the order of nnU-Net's array, by default that of SimpleITK.

    Raises:
        ValueError: overlap or an axis out of range.
    """

    def __init__(
        self,
        patch_shape: tuple[int, int, int],
        overlap: float = 0.5,
        mirror_axes: Sequence[int] = (0, 1, 2),
        axis_order: Sequence[int] = (2, 1, 0),
    ) -> None:
        if not 0 <= overlap < 1:
            raise ValueError(f"overlap={overlap} must lie in [0, 1)")
        if len(set(mirror_axes)) != len(mirror_axes) or not set(mirror_axes) <= {0, 1, 2}:
            raise ValueError(f"mirror_axes={list(mirror_axes)} must be some of 0, 1 and 2")
        if sorted(axis_order) != [0, 1, 2]:
            raise ValueError(f"axis_order={list(axis_order)} must be an order of 0, 1 and 2")
        self.patch_shape, self.overlap, self.axis_order = shape3d(patch_shape), overlap, tuple(axis_order)
        axes = [axis + 2 for axis in axis_order if axis in mirror_axes]
        self.mirrored = list(chain.from_iterable(combinations(axes, n) for n in range(len(axes) + 1)))
        self.weight = _gaussian(self.patch_shape)

    def __call__(self, network: Callable[[Tensor], Tensor], volume: Tensor) -> Tensor:
        """Blend the network's outputs over a volume: (1, C, X, Y, Z) -> (1, K, X, Y, Z) float32.

        `network` maps (1, C, *patch_shape) to (1, K, *patch_shape).
        """
        padded, inner = pad_centered(volume, self.patch_shape)
        shape = padded.shape[2:]
        self.weight = to_device(self.weight, volume.device)  # stays there for the next call
        total: Tensor | None = None
        weights = torch.zeros(tuple(shape), dtype=torch.half, device=volume.device)
        for window in self._windows(tuple(shape)):
            index = (slice(None), slice(None), *window)
            result = self._averaged(network, padded[index])
            if total is None:
                total = torch.zeros((1, result.shape[1], *shape), dtype=torch.half, device=volume.device)
            total[index] += result * self.weight
            weights[window] += self.weight
        assert total is not None
        return total.div_(weights)[inner].float()

    def _windows(self, shape: tuple[int, ...]) -> Iterator[tuple[slice, ...]]:
        of_axis = [starts(n, patch, self.overlap) for n, patch in zip(shape, self.patch_shape, strict=True)]
        for ordered in product(*(of_axis[axis] for axis in self.axis_order)):
            first = dict(zip(self.axis_order, ordered, strict=True))
            yield tuple(slice(first[axis], first[axis] + patch) for axis, patch in enumerate(self.patch_shape))

    def _averaged(self, network: Callable[[Tensor], Tensor], patch: Tensor) -> Tensor:
        total = torch.zeros((), device=patch.device)
        for axes in self.mirrored:
            total = total + torch.flip(network(torch.flip(patch, axes)), axes).float()
        return total / len(self.mirrored)


def starts(size: int, patch: int, overlap: float) -> list[int]:
    """Return where the windows of an axis begin: evenly spread, at most patch × (1 − overlap) apart."""
    count = math.ceil((size - patch) / (patch * (1 - overlap))) + 1
    return [round((size - patch) / max(1, count - 1) * i) for i in range(count)]


def _gaussian(shape: tuple[int, int, int]) -> Tensor:
    """Return float16 weights with a sigma of an eighth of each edge; those that round to 0 are the smallest one."""
    weight = torch.full((), _PEAK, dtype=torch.float64)
    for size in shape:
        offset = torch.arange(size, dtype=torch.float64) - size // 2
        weight = weight[..., None] * torch.exp(-(offset**2) / (2 * (size / 8) ** 2))
    rounded = weight.half()
    return torch.where(rounded == 0, rounded[rounded > 0].min(), rounded)
