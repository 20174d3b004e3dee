from __future__ import annotations

import numpy as np
import pytest
import torch

from brats_ablate.transforms.normalize import normalize, normalize_volume, z_score_on_device


def raw_images(dtype: torch.dtype, shape: tuple[int, int, int] = (5, 6, 7)) -> torch.Tensor:
    generator = torch.Generator().manual_seed(3)
    raw = torch.randint(-50, 3000, (4, *shape), generator=generator)
    raw[torch.rand(raw.shape, generator=generator) < 0.4] = 0
    return raw.to(dtype)


def statistics(raw: torch.Tensor) -> tuple[list[float], list[float]]:
    values = [volume[volume != 0].double() for volume in raw]
    return [v.mean().item() for v in values], [v.std(correction=0).item() for v in values]


@pytest.mark.parametrize("dtype", [torch.int16, torch.float32, torch.int32])
def test_equals_numpy_in_float64(dtype: torch.dtype) -> None:
    raw = raw_images(dtype)
    mean, std = statistics(raw)
    images = normalize(raw, mean, std)
    x = raw.double().numpy()
    m, s = (np.array(values)[:, None, None, None] for values in (mean, std))
    assert images.dtype == torch.float32
    np.testing.assert_allclose(images.numpy(), np.where(x != 0, (x - m) / s, 0), atol=1e-6)
    assert (images[raw == 0] == 0).all()


def test_the_foreground_has_mean_zero_and_deviation_one() -> None:
    raw = raw_images(torch.int16, (16, 20, 24))
    images = normalize(raw, *statistics(raw))
    for volume, source in zip(images, raw, strict=True):
        assert volume[source != 0].mean().abs() < 1e-5
        assert volume[source != 0].std(correction=0).item() == pytest.approx(1, abs=1e-5)


def test_a_strided_view_is_normalized_like_its_copy() -> None:
    raw = raw_images(torch.int16).transpose(1, 3)
    mean, std = statistics(raw)
    assert torch.equal(normalize(raw, mean, std), normalize(raw.contiguous(), mean, std))


def test_a_constant_modality_becomes_zero() -> None:
    raw = torch.full((4, 2, 3, 4), 7, dtype=torch.int16)
    assert (normalize(raw, [7.0] * 4, [0.0] * 4) == 0).all()


@pytest.mark.parametrize("dtype", [torch.int16, torch.float32])
def test_the_operations_of_a_gpu_give_the_same_bits(dtype: torch.dtype) -> None:
    raw = raw_images(dtype)
    for volume, mean, std in zip(raw, *statistics(raw), strict=True):
        compiled, by_torch = torch.empty(volume.shape), torch.empty(volume.shape)
        normalize_volume(volume, mean, std, compiled)
        scale = np.float32(1) / np.float32(std)
        z_score_on_device(volume, float(np.float32(mean)), float(scale), by_torch)
        assert torch.equal(compiled, by_torch)
