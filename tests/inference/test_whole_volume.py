from __future__ import annotations

import pytest
import torch
from torch import Tensor

from brats_ablate.inference.whole_volume import WholeVolume


@pytest.mark.parametrize(
    ("shape", "expected"),
    [((5, 6, 7), (8, 8, 16)), ((8, 8, 8), (8, 8, 16)), ((9, 8, 17), (16, 8, 24)), ((16, 24, 8), (16, 24, 8))],
)
def test_pads_to_the_divisor_and_leaves_more_than_one_voxel(
    shape: tuple[int, int, int], expected: tuple[int, int, int]
) -> None:
    shapes = []

    def network(x: Tensor) -> Tensor:
        shapes.append(tuple(x.shape[2:]))
        return x * 3

    volume = torch.rand(1, 2, *shape)
    torch.testing.assert_close(WholeVolume((8, 8, 8))(network, volume), volume * 3)
    assert shapes == [expected]
