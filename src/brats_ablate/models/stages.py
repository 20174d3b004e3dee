"""What the U-shaped networks of ours share: levels that halve the resolution, and heads on the finest of them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from torch import nn

from brats_ablate.errors import ConfigError
from brats_ablate.models.base import SegmentationModel
from brats_ablate.models.dropblock import NoDrop

N_DROPBLOCK_STAGES = 3
"""`drop` acts in the bottleneck and the two encoder levels above it, as in the paper's code."""


class UNetBase(SegmentationModel):
    """A network whose input must halve once per level but the first, with heads on its finest decoder levels.

    Raises:
        ConfigError: if the patch does not fit the depth, or there are more heads than decoder levels.
    """

    supports_deep_supervision = True
    per_stage = ("encoder.channels",)
    min_bottom_voxels = 2

    def __init__(self, patch_shape: tuple[int, int, int], levels: int, heads: int) -> None:
        step = 2 ** (levels - 1)
        super().__init__(patch_shape, (step, step, step))
        if not 1 <= heads < levels:
            raise ConfigError(
                f"{heads} heads need more than {heads} levels; add channels to encoder or set supervision=none"
            )


def build_encoder(
    in_channels: int,
    channels: tuple[int, ...],
    block: Callable[..., nn.Module],
    drop: Callable[[], nn.Module],
    blocks_per_stage: list[int],
) -> nn.ModuleList:
    """The encoder, finest level first; a level's first block changes resolution and channels."""
    levels = nn.ModuleList()
    for i, width in enumerate(channels):
        here = partial(block, drop=drop if i >= len(channels) - N_DROPBLOCK_STAGES else NoDrop)
        first = here(channels[i - 1], width, stride=2) if i else here(in_channels, width, stride=1)
        more = blocks_per_stage[min(i, len(blocks_per_stage) - 1)] - 1
        levels.append(nn.Sequential(first, *(here(width, width, stride=1) for _ in range(more))))
    return levels


def build_upsample(channels_below: int, channels: int) -> nn.ConvTranspose3d:
    """The 2³ transposed convolution that doubles the resolution."""
    return nn.ConvTranspose3d(channels_below, channels, kernel_size=2, stride=2, bias=False)


def build_heads(channels: tuple[int, ...], out_channels: int, heads: int) -> nn.ModuleList:
    """A 1³ convolution to the logits for each of the `heads` finest levels."""
    return nn.ModuleList(nn.Conv3d(width, out_channels, 1) for width in channels[:heads])
