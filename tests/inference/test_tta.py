from __future__ import annotations

import torch
from torch import Tensor

from brats_ablate.inference.tta import FlipTTA, NoTTA


def test_mean_over_flips_is_equivariant() -> None:
    """A predictor that treats positions differently becomes mirror-equivariant under the mean."""
    position = torch.rand(1, 1, 5, 6, 7)

    def predict(volume: Tensor) -> Tensor:
        return volume * position

    volume = torch.rand(1, 1, 5, 6, 7)
    result = FlipTTA()(predict, volume)
    for axes in ([2], [3], [4], [2, 3, 4]):
        torch.testing.assert_close(FlipTTA()(predict, volume.flip(axes)).flip(axes), result)
    assert not torch.allclose(result, predict(volume))


def test_eight_distinct_flips() -> None:
    volumes = []

    def predict(volume: Tensor) -> Tensor:
        volumes.append(tuple(volume.flatten().tolist()))
        return volume

    volume = torch.arange(8.0).reshape(1, 1, 2, 2, 2)
    torch.testing.assert_close(FlipTTA()(predict, volume), volume)
    assert len(set(volumes)) == 8


def test_leaves_the_predictors_tensor_alone() -> None:
    kept = torch.ones(1, 1, 2, 2, 2)
    FlipTTA()(lambda _: kept, torch.zeros(1, 1, 2, 2, 2))
    assert torch.equal(kept, torch.ones(1, 1, 2, 2, 2))


def test_none_is_the_predictor_itself() -> None:
    volume = torch.rand(1, 1, 5, 6, 7)
    assert torch.equal(NoTTA()(lambda v: v * 2, volume), volume * 2)
