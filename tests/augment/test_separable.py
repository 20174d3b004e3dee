from __future__ import annotations

import numpy as np
import pytest
import torch

from brats_ablate.augment.separable import filter_in_place


def banded(n: int, width: int, rng: np.random.Generator) -> np.ndarray:
    i, j = np.indices((n, n))
    return rng.normal(size=(n, n)) * (np.abs(i - j) <= width)


@pytest.mark.parametrize("shape", [(5, 6, 7), (1, 33, 16), (40, 17, 50)])
def test_equals_an_einsum_over_full_matrices(shape: tuple[int, int, int]) -> None:
    rng = np.random.default_rng(1)
    matrices = tuple(banded(n, 3, rng) for n in shape)
    volumes = torch.from_numpy(rng.normal(size=(3, *shape)).astype(np.float32))
    expected = np.einsum("xi,yj,zk,cijk->cxyz", *matrices, volumes.double().numpy(), optimize=True)
    filter_in_place(volumes, matrices)
    scale = np.abs(expected).max()
    np.testing.assert_allclose(volumes.numpy() / scale, expected / scale, atol=1e-6)


def test_a_matrix_may_shift_its_band_beyond_the_diagonal_block() -> None:
    # The last output voxel takes the first input voxel: the block of rows is far from the diagonal.
    reversal = np.eye(20)[::-1].copy()
    volume = torch.arange(20 * 2 * 3, dtype=torch.float32).view(1, 20, 2, 3)
    expected = volume.flip(1)
    filter_in_place(volume, (reversal, np.eye(2), np.eye(3)))
    assert torch.equal(volume, expected)
