from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import ndimage

from brats_ablate.errors import ConfigError
from brats_ablate.transforms.blur import GaussianBlur, gaussian_matrix


@pytest.mark.parametrize("shape", [(5, 6, 7), (16, 20, 24), (1, 40, 2)])
@pytest.mark.parametrize("sigma", [0.5, 1.1, 1.5])
def test_equals_scipy_with_a_mirrored_border(make_batch, shape: tuple[int, int, int], sigma: float) -> None:
    batch, before = (make_batch(samples=2, shape=shape) for _ in range(2))
    GaussianBlur(p=1.0, sigma_voxels=[sigma, sigma], background="touch")(batch)
    for after, source in zip(batch.images.flatten(0, 1), before.images.flatten(0, 1), strict=True):
        expected = ndimage.gaussian_filter(source.double().numpy(), sigma, mode="mirror", radius=math.ceil(3 * sigma))
        np.testing.assert_allclose(after.numpy(), expected, atol=2e-6)
    assert torch.equal(batch.labels, before.labels)
    assert torch.equal(batch.foreground, before.foreground)


def test_a_constant_stays_constant() -> None:
    np.testing.assert_allclose(gaussian_matrix(9, 1.5) @ np.ones(9), np.ones(9), atol=1e-12)


def test_background_zeros_are_kept_on_request_only(make_batch) -> None:
    for background, untouched in (("keep", True), ("touch", False)):
        batch = make_batch(samples=1)
        batch.images[:, :, :2] = 0
        GaussianBlur(p=1.0, sigma_voxels=[1.0, 1.0], background=background)(batch)
        assert (batch.images[:, :, :2] == 0).all().item() is untouched


def test_a_vanishing_sigma_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"blur\.sigma_voxels"):
        GaussianBlur(p=0.15, sigma_voxels=[0.0, 1.5], background="touch")
