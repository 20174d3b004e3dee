from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import numpy as np
import pytest
import torch
from scipy import stats

from brats_ablate.errors import ConfigError
from brats_ablate.runtime.random import derive_seed
from brats_ablate.transforms.noise import GaussianNoise


def test_noise_is_gaussian_with_the_drawn_deviation_and_independent_between_channels(make_batch) -> None:
    batch, before = (make_batch(samples=2, shape=(16, 20, 24)) for _ in range(2))
    GaussianNoise(p=1.0, sigma=[0.3, 0.3], background="touch")(batch)
    noise = batch.images - before.images
    for b in range(2):
        for c in range(4):
            assert stats.kstest(noise[b, c].flatten().numpy(), "norm", args=(0, 0.3)).pvalue > 1e-4
    channels = noise.transpose(0, 1).flatten(1)
    correlation = torch.corrcoef(channels) - torch.eye(4)
    assert correlation.abs().max() < 5 / channels.shape[1] ** 0.5
    assert torch.equal(batch.labels, before.labels)
    assert torch.equal(batch.foreground, before.foreground)


def test_sigma_is_uniform_on_its_interval(make_batch) -> None:
    batch, before = (make_batch(samples=400, shape=(5, 6, 7)) for _ in range(2))
    GaussianNoise(p=1.0, sigma=[0.0, 0.33], background="touch")(batch)
    sigma = (batch.images - before.images).flatten(1).std(dim=1)
    assert sigma.mean().item() == pytest.approx(0.165, abs=4 * 0.33 / 12**0.5 / 400**0.5)
    assert sigma.min() < 0.02
    assert 0.31 < sigma.max() < 0.36


def test_background_zeros_are_kept_on_request_only(make_batch) -> None:
    for background, untouched in (("keep", True), ("touch", False)):
        batch = make_batch(samples=1)
        batch.images[:, :, :2] = 0
        before = batch.images.clone()
        GaussianNoise(p=1.0, sigma=[0.3, 0.3], background=background)(batch)
        assert (batch.images[:, :, :2] == 0).all().item() is untouched
        assert (batch.images[:, :, 2:] != before[:, :, 2:]).all()


def test_an_unknown_background_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"noise\.background=zero"):
        GaussianNoise(p=0.15, sigma=[0.0, 0.33], background="zero")  # type: ignore[arg-type]


def test_the_table_of_the_cpu_holds_the_normal_s_moments_and_tails(make_batch) -> None:
    batch = make_batch(samples=1, shape=(64, 64, 64))
    batch.images.zero_()
    GaussianNoise(p=1.0, sigma=[1.0, 1.0], background="touch")(batch)
    noise = batch.images.double().flatten()
    n = noise.numel()
    assert abs(noise.mean().item()) < 4 / n**0.5
    assert abs(noise.square().mean().item() - 1) < 4 * (2 / n) ** 0.5
    assert abs(noise.pow(4).mean().item() - 3) < 4 * (96 / n) ** 0.5
    assert noise.abs().max() > 4
    assert noise.roll(1).mul(noise).mean().abs() < 4 / n**0.5


def test_the_cpu_s_bits_are_splitmix64_s(make_batch) -> None:
    """Against the generator in whole numbers, 16 bits a voxel from the lowest on; an odd number of voxels."""

    def splitmix(seed: int) -> Iterator[int]:
        while True:
            seed = (seed + 0x9E3779B97F4A7C15) % 2**64
            z = (seed ^ (seed >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
            z = (z ^ (z >> 27)) * 0x94D049BB133111EB % 2**64
            yield z ^ (z >> 31)

    draws = splitmix(0)
    assert next(draws) == 0xE220A8397B1DCDAF  # the generator's published first output of seed 0
    batch = make_batch(samples=1)
    batch.images.zero_()
    GaussianNoise(p=1.0, sigma=[1.0, 1.0], background="touch")(batch)
    draws = splitmix(derive_seed(*batch.sample_keys[0], "noise voxels"))
    shares = [(bits >> 16 * part & 0xFFFF) + 0.5 for bits in islice(draws, 210) for part in range(4)]
    expected = stats.norm.ppf(np.array(shares) / 2**16)
    np.testing.assert_allclose(batch.images.flatten().numpy(), expected, rtol=1e-4, atol=1e-6)
