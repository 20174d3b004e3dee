from __future__ import annotations

import numpy as np
import pytest
import torch

from brats_ablate.cases import Patch
from brats_ablate.transforms.foreground import WithForegroundMask
from brats_ablate.transforms.normalize import mirror, normalize, to_batch


def raw_images(dtype: torch.dtype, shape: tuple[int, int, int] = (5, 6, 7)) -> torch.Tensor:
    generator = torch.Generator().manual_seed(3)
    raw = torch.randint(-50, 3000, (2, 4, *shape), generator=generator)
    raw[torch.rand(raw.shape, generator=generator) < 0.4] = 0
    return raw.to(dtype)


def statistics(raw: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    values = [[v[v != 0].double() for v in sample] for sample in raw]
    mean = torch.tensor([[v.mean().item() for v in sample] for sample in values])
    std = torch.tensor([[v.std(correction=0).item() for v in sample] for sample in values])
    return mean, std


@pytest.mark.parametrize("dtype", [torch.int16, torch.float32, torch.int32])
def test_equals_numpy_in_float64(dtype: torch.dtype) -> None:
    raw = raw_images(dtype)
    mean, std = statistics(raw)
    images = normalize(raw, mean, std)
    x = raw.double().numpy()
    m, s = (t.double().numpy()[:, :, None, None, None] for t in (mean, std))
    assert images.dtype == torch.float32
    np.testing.assert_allclose(images.numpy(), np.where(x != 0, (x - m) / s, 0), atol=1e-6)
    assert (images[raw == 0] == 0).all()


def test_the_foreground_has_mean_zero_and_deviation_one() -> None:
    raw = raw_images(torch.int16, (16, 20, 24))
    images = normalize(raw, *statistics(raw))
    for volume, source in zip(images.flatten(0, 1), raw.flatten(0, 1), strict=True):
        assert volume[source != 0].mean().abs() < 1e-5
        assert volume[source != 0].std(correction=0).item() == pytest.approx(1, abs=1e-5)


def test_a_strided_view_is_normalised_like_its_copy() -> None:
    raw = raw_images(torch.int16).transpose(2, 4)
    mean, std = statistics(raw)
    assert torch.equal(normalize(raw, mean, std), normalize(raw.contiguous(), mean, std))


def test_mirroring_commutes_with_normalising() -> None:
    raw = raw_images(torch.int16)
    mean, std = statistics(raw)
    axes = [(0, 2), ()]
    expected = normalize(raw, mean, std)
    expected[0] = expected[0].flip(1, 3)
    assert torch.equal(normalize(raw, mean, std, axes), expected)
    assert torch.equal(normalize(mirror(raw, axes), mean, std), expected)


def test_a_constant_modality_becomes_zero() -> None:
    raw = torch.full((1, 4, 2, 3, 4), 7, dtype=torch.int16)
    images = normalize(raw, torch.full((1, 4), 7.0), torch.zeros(1, 4))
    assert (images == 0).all()


@pytest.mark.parametrize("count", [1, 3])
def test_a_batch_collates_patches_and_shares_no_memory_with_them(count: int) -> None:
    rng = np.random.default_rng(0)
    patches = [
        Patch(
            images=rng.integers(0, 5, (4, 5, 6, 7)).astype(np.int16),
            labels=rng.integers(0, 4, (5, 6, 7)).astype(np.uint8),
            mean=(1.0, 2.0, 3.0, 4.0 + i),
            std=(1.0, 2.0, 3.0, 4.0),
            case_id=f"case{i}",
            counters=(0, 1, i),
        )
        for i in range(count)
    ]
    copies = [(p.images.copy(), p.labels.copy()) for p in patches]
    batch = to_batch(patches, WithForegroundMask(), "cpu")
    assert batch.images.shape == (count, 4, 5, 6, 7)
    assert batch.case_ids == [p.case_id for p in patches]
    assert batch.counters == [p.counters for p in patches]
    for i, p in enumerate(patches):
        m, s = (np.array(t)[:, None, None, None] for t in (p.mean, p.std))
        expected = np.where(p.images != 0, (p.images - m) / s, 0)
        np.testing.assert_allclose(batch.images[i].numpy(), expected, atol=1e-6)
        np.testing.assert_array_equal(batch.labels[i].numpy(), p.labels)
        np.testing.assert_array_equal(batch.foreground[i, 0].numpy(), (p.images != 0).any(axis=0))
    batch.images.fill_(9)
    batch.labels.fill_(9)
    for p, (images, labels) in zip(patches, copies, strict=True):
        np.testing.assert_array_equal(p.images, images)
        np.testing.assert_array_equal(p.labels, labels)
