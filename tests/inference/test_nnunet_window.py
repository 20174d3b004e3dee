from __future__ import annotations

import numpy as np
import pytest
import torch

from brats_ablate.inference.nnunet_window import NnunetWindow, starts

PATCH = (8, 12, 16)


def volume(*shape: int) -> torch.Tensor:
    return torch.randn(1, 1, *shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("shape", [(8, 12, 16), (5, 30, 17), (29, 13, 40)])
def test_a_network_without_surroundings_is_applied_to_each_voxel(shape: tuple[int, int, int]) -> None:
    """Blending equal values returns them, whatever the windows, but for float16 sums of tiny weights at the edges."""
    x = volume(*shape)
    blended = NnunetWindow(PATCH)(lambda patch: torch.cat((patch, 1 - patch), dim=1), x)
    assert blended.shape == (1, 2, *shape)
    difference = (blended - torch.cat((x, 1 - x), dim=1)).abs()
    assert float(difference.median()) < 1e-3
    assert float(difference.max()) < 0.6


def test_windows_are_spread_evenly() -> None:
    assert starts(110, 64, 0.5) == [0, 23, 46]  # the example in nnU-Net's source
    assert starts(16, 16, 0.5) == [0]
    assert starts(17, 16, 0.5) == [0, 1]


def test_mirroring_makes_the_result_independent_of_the_directions() -> None:
    weight = torch.randn(1, 1, 3, 3, 3, generator=torch.Generator().manual_seed(1))
    x = volume(8, 12, 16)

    def network(patch: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.conv3d(patch, weight, padding=1)

    for axes, is_invariant in (([0, 1, 2], True), ([0], True), ([1, 2], False), ([], False)):
        window = NnunetWindow(PATCH, mirror_axes=axes)
        flipped = window(network, x.flip(2)).flip(2)
        inner = (slice(None), slice(None), slice(2, 6), slice(4, 8), slice(4, 12))
        assert torch.allclose(window(network, x)[inner], flipped[inner], atol=0.02) is is_invariant


@pytest.mark.parametrize("size", [20, 31, 64, 150])
def test_positions_and_weights_are_those_of_nnunet(size: int) -> None:
    own = pytest.importorskip("nnunetv2.inference.sliding_window_prediction", reason="nnunetv2 is not installed")
    shape = (size, 40, 33)
    expected = own.compute_steps_for_sliding_window(shape, (20, 24, 32), 0.5)
    assert [starts(n, p, 0.5) for n, p in zip(shape, (20, 24, 32), strict=True)] == expected
    gaussian = own.compute_gaussian((20, 24, 32), value_scaling_factor=10, device=torch.device("cpu"))
    assert np.array_equal(NnunetWindow((20, 24, 32)).weight.numpy(), gaussian.numpy())


def test_impossible_settings_are_refused() -> None:
    with pytest.raises(ValueError, match=r"overlap=1 must lie"):
        NnunetWindow(PATCH, overlap=1)
    with pytest.raises(ValueError, match=r"mirror_axes=\[3\]"):
        NnunetWindow(PATCH, mirror_axes=[3])
    with pytest.raises(ValueError, match=r"axis_order=\[0, 0, 1\]"):
        NnunetWindow(PATCH, axis_order=[0, 0, 1])
