"""Convolution blocks: what a U-Net computes in one stage.

A block is a module class called as `block(in_channels, out_channels, stride=…, drop=…)`. The configuration sets its
other arguments.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor, nn

from brats_ablate.models.norm import InstanceNorm

NEGATIVE_SLOPE = 0.01
"""Slope of every leaky ReLU (paper section 2.3)."""

Drop = Callable[[], nn.Module]
"""Makes the layer between a convolution and its norm."""
BlockFactory = Callable[..., nn.Module]
"""Makes a block of this module."""


def activation() -> nn.LeakyReLU:
    """Make the leaky ReLU of paper section 2.3; in place, as norms and sums do not need their output for gradients."""
    return nn.LeakyReLU(NEGATIVE_SLOPE, inplace=True)


def conv(in_channels: int, out_channels: int, kernel_size: int, stride: int = 1) -> nn.Conv3d:
    """Make a convolution that keeps the shape at stride 1; without bias, as a norm follows."""
    return nn.Conv3d(in_channels, out_channels, kernel_size, stride, padding=kernel_size // 2, bias=False)


class ConvLayer(nn.Sequential):
    """Convolution, drop, instance norm, leaky ReLU."""

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int = 3, stride: int = 1, drop: Drop = nn.Identity
    ) -> None:
        convolution = conv(in_channels, out_channels, kernel_size, stride)
        super().__init__(convolution, drop(), InstanceNorm(out_channels), activation())

    def forward(self, x: Tensor) -> Tensor:
        return self.norm_act(self[0](x))

    def norm_act(self, x: Tensor) -> Tensor:
        """Apply the layers after the convolution; `kernels` replaces this method by a fused one."""
        _, drop, norm, leaky = self
        return cast(Tensor, leaky(norm(drop(x))))


class ConvBlock(nn.Sequential):
    """`layers` times 3³ convolution, instance norm, leaky ReLU; the first strided (paper Fig. 6a)."""

    def __init__(
        self, in_channels: int, out_channels: int, stride: int = 1, drop: Drop = nn.Identity, layers: int = 2
    ) -> None:
        later = [ConvLayer(out_channels, out_channels, drop=drop) for _ in range(layers - 1)]
        super().__init__(ConvLayer(in_channels, out_channels, stride=stride, drop=drop), *later)

    @property
    def first_conv(self) -> nn.Conv3d:
        """The block's first convolution."""
        return cast(nn.Conv3d, cast(ConvLayer, self[0])[0])

    def forward_from_first_conv(self, x: Tensor) -> Tensor:
        """Compute the block's output from that of `first_conv`."""
        first, *later = cast(list[ConvLayer], list(self.children()))
        x = first.norm_act(x)
        for layer in later:
            x = layer(x)
        return x


class ResidualBlock(nn.Module):
    """The block of paper Fig. 6b: convolution, norm, ReLU, convolution, norm, plus the shortcut, then ReLU.

    The shortcut is the identity, or a projection (convolution, norm) where stride or channels change (He et al.,
    arXiv:1512.03385). The figure omits the projection; its `shortcut_kernel` is 1 in He et al. and 3 in the paper's
    code.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        stride: int = 1,
        drop: Drop = nn.Identity,
        shortcut_kernel: int = 1,
        pool_shortcut: bool = False,
    ) -> None:
        super().__init__()
        self.first = ConvLayer(in_channels, out_channels, stride=stride, drop=drop)
        self.second = nn.Sequential(conv(out_channels, out_channels, 3), drop(), InstanceNorm(out_channels))
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or in_channels != out_channels:
            pool = nn.AvgPool3d(stride) if pool_shortcut else nn.Identity()
            projection = conv(in_channels, out_channels, shortcut_kernel, 1 if pool_shortcut else stride)
            self.shortcut = nn.Sequential(pool, projection, drop(), InstanceNorm(out_channels))
        self.activation = activation()

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.activation(self.second(self.first(x)) + self.shortcut(x)))


class DenseBlock(nn.Module):
    """A strided convolution layer, then `layers` that each take the outputs of all before, merged by a 1³ layer.

    Huang et al., arXiv:1608.06993, in the baseline's order of convolution, norm, leaky ReLU. A layer adds `growth`
    times the block's channels.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        stride: int = 1,
        drop: Drop = nn.Identity,
        layers: int = 2,
        growth: float = 0.5,
    ) -> None:
        super().__init__()
        added = max(1, int(growth * out_channels))
        self.entry = ConvLayer(in_channels, out_channels, stride=stride, drop=drop)
        self.layers = nn.ModuleList(ConvLayer(out_channels + i * added, added, drop=drop) for i in range(layers))
        self.fuse = ConvLayer(out_channels + layers * added, out_channels, kernel_size=1, drop=drop)

    def forward(self, x: Tensor) -> Tensor:
        features = cast(Tensor, self.entry(x))
        for layer in self.layers:
            features = torch.cat((features, layer(features)), dim=1)
        return cast(Tensor, self.fuse(features))


class InceptionBlock(nn.Module):
    """A strided convolution layer, then an inception module in place of the baseline's second layer.

    Four branches of a quarter of the channels each: 1³; 1³, 3³; 1³, 3³, 3³ (for 5³); maximum of 3³, 1³. Szegedy et
    al., arXiv:1409.4842, with norms and the 5³ in two steps as in arXiv:1512.00567.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1, drop: Drop = nn.Identity) -> None:
        super().__init__()
        quarter = out_channels // 4

        def layer(kernel_size: int, channels: int = quarter, into: int = quarter) -> ConvLayer:
            return ConvLayer(channels, into, kernel_size, drop=drop)

        self.entry = ConvLayer(in_channels, out_channels, stride=stride, drop=drop)
        self.branches = nn.ModuleList(
            [
                layer(1, out_channels),
                nn.Sequential(layer(1, out_channels), layer(3)),
                nn.Sequential(layer(1, out_channels), layer(3), layer(3)),
                nn.Sequential(nn.MaxPool3d(3, stride=1, padding=1), layer(1, out_channels, out_channels - 3 * quarter)),
            ]
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.entry(x)
        return torch.cat([branch(x) for branch in self.branches], dim=1)
