from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from brats_ablate.transforms.blur import gaussian_matrix
from brats_ablate.transforms.separable import Band, Matrices, dense_filter, filter_in_place
from brats_ablate.transforms.zoom import cubic_matrix, source_coordinates


def banded(n: int, width: int, rng: np.random.Generator) -> np.ndarray:
    i, j = np.indices((n, n))
    return rng.normal(size=(n, n)) * (np.abs(i - j) <= width)


@pytest.mark.parametrize("shape", [(5, 6, 7), (1, 33, 16), (40, 17, 50)])
@pytest.mark.parametrize("filtered", [filter_in_place, dense_filter])  # of a CPU and of a GPU
def test_equals_an_einsum_over_full_matrices(
    filtered: Callable[[torch.Tensor, Matrices], None], shape: tuple[int, int, int]
) -> None:
    rng = np.random.default_rng(1)
    matrices = tuple(banded(n, 3, rng) for n in shape)
    volumes = torch.from_numpy(rng.normal(size=(3, *shape)).astype(np.float32))
    expected = np.einsum("xi,yj,zk,cijk->cxyz", *matrices, volumes.double().numpy(), optimize=True)
    filtered(volumes, matrices)
    scale = np.abs(expected).max()
    np.testing.assert_allclose(volumes.numpy() / scale, expected / scale, atol=1e-6)


def test_products_on_a_gpu_are_never_rounded_to_tf32(monkeypatch: pytest.MonkeyPatch) -> None:
    products, multiply = torch.backends.cuda.matmul, torch.mm
    rounded = []

    def recorded(*arguments: torch.Tensor, out: torch.Tensor) -> None:
        rounded.append(products.allow_tf32)
        multiply(*arguments, out=out)

    monkeypatch.setattr(torch, "mm", recorded)
    before, products.allow_tf32 = products.allow_tf32, True
    try:
        dense_filter(torch.zeros(1, 2, 2, 2), (np.eye(2),) * 3)
        assert products.allow_tf32
    finally:
        products.allow_tf32 = before
    assert rounded == [False] * 3


def test_a_matrix_may_shift_its_band_beyond_the_diagonal_block() -> None:
    # The last output voxel takes the first input voxel: the block of rows is far from the diagonal.
    reversal = np.eye(20)[::-1].copy()
    volume = torch.arange(20 * 2 * 3, dtype=torch.float32).view(1, 20, 2, 3)
    expected = volume.flip(1)
    filter_in_place(volume, (reversal, np.eye(2), np.eye(3)))
    assert torch.equal(volume, expected)


@pytest.mark.parametrize("n", [16, 37])
@pytest.mark.parametrize(
    "matrix_of", [lambda n: gaussian_matrix(n, 1.2), lambda n: cubic_matrix(source_coordinates(n, 1.3))]
)
def test_toeplitz_rows_and_others_equal_dense_products(matrix_of: Callable[[int], np.ndarray], n: int) -> None:
    """A blur is Toeplitz except at its ends and uses a different loop than a zoom."""
    matrices = (matrix_of(20), matrix_of(12), matrix_of(n))
    volumes = torch.randn(2, 20, 12, n, generator=torch.Generator().manual_seed(0))
    expected = volumes.clone()
    dense_filter(expected, matrices)
    filter_in_place(volumes, matrices)
    torch.testing.assert_close(volumes, expected, rtol=0, atol=2e-6)


def test_a_blur_is_toeplitz_but_for_its_reflected_ends_and_a_zoom_is_not() -> None:
    assert Band.of(gaussian_matrix(30, 1.0)).toeplitz_rows.tolist() == [3, 27]
    assert Band.of(cubic_matrix(source_coordinates(30, 1.3))).toeplitz_rows.tolist() == [0, 0]
    assert Band.of(np.eye(30)).toeplitz_rows.tolist() == [0, 30]


@pytest.mark.parametrize("shift", [-9, 9])
def test_a_band_far_from_the_diagonal_reads_nothing_beyond_the_volume(shift: int) -> None:
    matrix = np.roll(np.eye(30), shift, axis=1)
    assert Band.of(matrix).toeplitz_rows.tolist() == [0, 0]
    volume = torch.randn(1, 2, 3, 30, generator=torch.Generator().manual_seed(0))
    expected = volume.roll(-shift, dims=3)
    filter_in_place(volume, (np.eye(2), np.eye(3), matrix))
    assert torch.equal(volume, expected)
