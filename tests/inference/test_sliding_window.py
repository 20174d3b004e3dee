from __future__ import annotations

import pytest
import torch
from monai.inferers import sliding_window_inference
from torch import Tensor, nn

from brats_ablate.inference import sliding_window
from brats_ablate.inference.sliding_window import SlidingWindow, TakesBatches, gaussian_weight, windows
from brats_ablate.inference.tta import FlipTTA


@pytest.fixture
def network() -> nn.Module:
    """A network whose result depends on where the window lies, through its zero padding."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv3d(2, 4, 3, padding=1), nn.Tanh(), nn.Conv3d(4, 3, 5, padding=2), nn.Sigmoid()).eval()


@pytest.mark.parametrize("shape", [(16, 16, 16), (16, 20, 24), (17, 33, 19), (9, 20, 31), (5, 6, 7), (48, 16, 15)])
@pytest.mark.parametrize("overlap", [0.5, 0.25, 0.0])
@torch.no_grad()
def test_equals_monai(network: nn.Module, shape: tuple[int, int, int], overlap: float) -> None:
    volume = torch.randn(1, 2, *shape)
    patch = (16, 12, 8)
    ours = SlidingWindow(patch, overlap, 0.125)(network, volume)
    expected = sliding_window_inference(volume, patch, 1, network, overlap=overlap, mode="gaussian", sigma_scale=0.125)
    assert ours.shape == (1, 3, *shape)
    torch.testing.assert_close(ours, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("shape", [(16, 16, 16), (17, 33, 19), (5, 6, 7)])
@torch.no_grad()
def test_windows_in_batches_give_the_same(
    network: nn.Module, shape: tuple[int, int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    volume, window, sizes = torch.randn(1, 2, *shape), SlidingWindow((16, 12, 8), 0.5, 0.125), []

    def counted(patches: Tensor) -> Tensor:
        sizes.append(len(patches))
        return network(patches)

    monkeypatch.setattr(sliding_window, "VOXELS_AT_ONCE", 3 * 16 * 12 * 8 + 1)
    alone, together = window(counted, volume), window(TakesBatches(counted), volume)
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=0)
    n = len(windows(tuple(map(max, shape, window.patch_shape)), window.patch_shape, 0.5))
    assert sizes == [1] * n + [3] * (n // 3) + [n % 3] * bool(n % 3)


@torch.no_grad()
def test_with_flips_equals_monai_by_hand(network: nn.Module) -> None:
    volume = torch.randn(1, 2, 17, 20, 11)
    window = SlidingWindow((8, 8, 8), 0.5, 0.125)
    ours = FlipTTA()(lambda v: window(network, v), volume)
    expected = torch.zeros(1, 3, 17, 20, 11)
    for axes in ([], [2], [3], [4], [2, 3], [2, 4], [3, 4], [2, 3, 4]):
        flipped = sliding_window_inference(volume.flip(axes), (8, 8, 8), 1, network, 0.5, "gaussian", 0.125)
        expected += flipped.flip(axes)
    torch.testing.assert_close(ours, expected / 8, atol=1e-5, rtol=0)


def test_the_weights_stay_on_the_device_between_calls() -> None:
    window, volume = SlidingWindow((8, 8, 8), 0.5, 0.125), torch.zeros(1, 1, 9, 9, 9, device="meta")
    window(lambda x: x, volume)
    first = window.weight
    window(lambda x: x, volume)
    assert window.weight is first
    assert first.device == volume.device


def test_weight_is_symmetric_with_a_floor() -> None:
    weight = gaussian_weight((6, 8, 10), 0.125)
    assert torch.equal(weight, weight.flip(0, 1, 2))
    assert weight.min() == pytest.approx(1e-3)


def test_a_half_precision_network_is_blended_in_float32() -> None:
    volume = torch.rand(1, 1, 12, 12, 12)
    result = SlidingWindow((8, 8, 8), 0.5, 0.125)(lambda x: x.bfloat16(), volume)
    assert result.dtype == torch.float32
    torch.testing.assert_close(result, volume.bfloat16().float())


@pytest.mark.parametrize(("overlap", "sigma"), [(1.0, 0.125), (-0.1, 0.125), (0.5, 0.0)])
def test_rejects_invalid_values(overlap: float, sigma: float) -> None:
    with pytest.raises(ValueError, match=r"overlap|sigma_scale"):
        SlidingWindow((8, 8, 8), overlap, sigma)
