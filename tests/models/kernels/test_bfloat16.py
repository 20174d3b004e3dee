from __future__ import annotations

import numpy as np
import pytest
import torch

from brats_ablate.models.kernels.bfloat16 import bf16_to_f32, f32_to_bf16, supports_numba, voxels_of
from brats_ablate.runtime import threads


def test_every_bfloat16_is_converted_to_float32_as_in_torch() -> None:
    bits = np.arange(1 << 16, dtype=np.uint16)
    expected = torch.from_numpy(bits.view(np.int16)).view(torch.bfloat16).float().numpy()
    converted = np.array([bf16_to_f32(b) for b in bits], np.float32)
    assert np.array_equal(converted, expected, equal_nan=True)


def test_values_are_rounded_to_bfloat16_as_in_torch() -> None:
    """All exponents, ties in both directions, what becomes infinite, and what is not a number."""
    generator = np.random.default_rng(0)
    bits = generator.integers(0, 1 << 32, 5000, np.uint32)
    ties = (generator.integers(0, 1 << 16, 1000, np.uint32) << 16) | 0x8000
    edges = np.array([0x7F7FFFFF, 0xFF7FFFFF, 0x7F7F8000, 0x7F800000, 0xFF800000, 0, 1 << 31], np.uint32)
    values = (
        np.concatenate([bits, ties, edges, [0x7FC00000, 0x7FFFFFFF, 0xFFFFFFFF]]).astype(np.uint32).view(np.float32)
    )
    expected = torch.from_numpy(values).bfloat16()
    bits = np.array([f32_to_bf16(v) for v in values], np.uint16)
    rounded = torch.from_numpy(bits.view(np.int16)).view(torch.bfloat16)
    assert torch.equal(rounded.isnan(), expected.isnan())
    numbers = ~expected.isnan()
    assert torch.equal(rounded[numbers].view(torch.int16), expected[numbers].view(torch.int16))


def test_voxels_are_a_view() -> None:
    x = torch.randn(2, 3, 4, 5, 6).bfloat16().to(memory_format=torch.channels_last_3d)
    voxels = voxels_of(x)
    voxels[1, 3, 0, 5, 2] = 0x3F80  # 1.0
    assert voxels.shape == (2, 4, 5, 6, 3)
    assert x[1, 2, 3, 0, 5] == 1


@pytest.mark.parametrize(
    ("change", "supported"),
    [
        (lambda x: x, True),
        (lambda x: x.contiguous(), False),
        (lambda x: x.float(), False),
        (lambda x: x.to("meta"), False),
    ],
)
def test_only_tensors_that_can_be_viewed_are_supported(change, supported, monkeypatch):
    monkeypatch.setattr(threads, "available", lambda: True)
    x = torch.randn(1, 4, 3, 3, 3).bfloat16().to(memory_format=torch.channels_last_3d)
    assert supports_numba(x, change(x)) is supported


def test_none_are_supported_without_torch_s_threads(monkeypatch):
    monkeypatch.setattr(threads, "available", lambda: False)
    assert not supports_numba(torch.zeros(1, 4, 3, 3, 3).bfloat16().to(memory_format=torch.channels_last_3d))
