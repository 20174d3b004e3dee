"""Blocks against the same computation written out."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from brats_ablate.models.blocks import ConvBlock, DenseBlock, InceptionBlock, ResidualBlock


def normed(x: torch.Tensor) -> torch.Tensor:
    mean = x.mean(dim=(2, 3, 4), keepdim=True)
    return (x - mean) / torch.sqrt(x.var(dim=(2, 3, 4), keepdim=True, unbiased=False) + 1e-5)


def test_residual_block_written_out():
    block = ResidualBlock(4, 8, stride=2)
    x = torch.randn(2, 4, 6, 8, 10)
    first, second, projection = block.first[0].weight, block.second[0].weight, block.shortcut[1].weight
    assert projection.shape == (8, 4, 1, 1, 1)
    hidden = F.leaky_relu(normed(F.conv3d(x, first, stride=2, padding=1)), 0.01)
    expected = normed(F.conv3d(hidden, second, padding=1)) + normed(F.conv3d(x, projection, stride=2))
    torch.testing.assert_close(block(x), F.leaky_relu(expected, 0.01), rtol=1e-4, atol=1e-5)


def test_residual_block_whose_branch_is_silent_is_the_rectified_identity():
    block = ResidualBlock(8, 8)
    nn.init.zeros_(block.second[2].weight)
    x = torch.randn(1, 8, 5, 6, 7)
    before = x.clone()
    assert torch.equal(block(x), F.leaky_relu(x, 0.01))
    assert torch.equal(x, before)


def test_shortcut_of_the_papers_code_is_a_3x3x3_convolution():
    assert ResidualBlock(4, 8, stride=2, shortcut_kernel=3).shortcut[1].weight.shape == (8, 4, 3, 3, 3)


def test_pooled_shortcut_sees_the_mean_of_the_strided_voxels():
    block = ResidualBlock(4, 4, stride=2, pool_shortcut=True)
    x = torch.randn(1, 4, 4, 6, 8)
    pooled = x.unfold(2, 2, 2).unfold(3, 2, 2).unfold(4, 2, 2).mean(dim=(-1, -2, -3))
    expected = normed(F.conv3d(pooled, block.shortcut[1].weight))
    torch.testing.assert_close(block.shortcut(x), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("block_type", [ConvBlock, ResidualBlock, DenseBlock, InceptionBlock])
@pytest.mark.parametrize("stride", [1, 2])
def test_shapes(block_type, stride):
    y = block_type(6, 16, stride=stride)(torch.randn(1, 6, 4, 6, 8))
    assert y.shape == (1, 16, 4 // stride, 6 // stride, 8 // stride)


def test_dense_layers_see_all_before_them():
    block = DenseBlock(4, 16, layers=3, growth=0.5)
    assert [layer[0].in_channels for layer in block.layers] == [16, 24, 32]
    assert block.fuse[0].in_channels == 40


def test_inception_branches_see_1_3_5_and_3_voxels():
    """The reach of each branch, from where one changed voxel is felt; norms are left out, as they reach everywhere."""
    block = InceptionBlock(4, 16)
    for module in block.modules():
        for name, child in module.named_children():
            if type(child).__name__ == "InstanceNorm":
                setattr(module, name, nn.Identity())
    x = torch.zeros(1, 16, 9, 9, 9)
    x[:, :, 4, 4, 4] = 1
    reach = [int((branch(x).abs().sum(dim=1)[0] > 0).any(dim=2).any(dim=1).sum()) for branch in block.branches]
    assert reach == [1, 3, 5, 3]
