"""U-Net++: a variant that the paper names and did not run; the baseline with nested skip connections."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn

from brats_ablate.models.base import SegmentationOutput, initialize
from brats_ablate.models.dropblock import NoDrop
from brats_ablate.models.encoder import EncoderConfig
from brats_ablate.models.stages import UNetBase, build_encoder, build_heads, build_upsample


class UNetPlusPlus(UNetBase):
    """U-Net++: (B, C, X, Y, Z) -> logits (Zhou et al., arXiv:1807.10165), of the baseline's levels and blocks.

    Node (i, j) of level i concatenates the nodes (i, 0 … j-1) with the upsampled node (i+1, j-1) and applies a
    block; column 0 is the encoder. The heads sit on the last node of the finest levels, as in `UNet`, where
    Zhou et al. supervise every node of level 0: so the supervision is not a second difference.

    Args: as `unet.UNet`.

    Raises:
        ConfigError: if the patch does not fit the depth, or there are more heads than decoder levels.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        heads: int,
        patch_shape: tuple[int, int, int],
        encoder: EncoderConfig,
        encoder_block: Callable[..., nn.Module],
        decoder_block: Callable[..., nn.Module],
    ) -> None:
        channels = encoder.scaled
        super().__init__(patch_shape, len(channels), heads)
        self.encoder = build_encoder(in_channels, channels, encoder_block, NoDrop, [1])
        self.nodes = nn.ModuleList(  # nodes[i][j - 1] is node (i, j)
            nn.ModuleList(NestedNode(below, width, j, decoder_block) for j in range(1, len(channels) - i))
            for i, (width, below) in enumerate(pairwise(channels))
        )
        self.heads = build_heads(channels, out_channels, heads)
        initialize(self)

    def forward(self, x: Tensor) -> SegmentationOutput:
        encoded = []
        for level in self.encoder:
            x = level(x)
            encoded.append(x)
        row = [encoded.pop()]
        logits: list[Tensor] = []
        for i in reversed(range(len(encoded))):
            row = self._row(i, encoded[i], row)
            if i < len(self.heads):
                logits.insert(0, self.heads[i](row[-1]))
        return SegmentationOutput(logits, {})

    def _row(self, i: int, encoded: Tensor, row_below: list[Tensor]) -> list[Tensor]:
        """The nodes (i, 0 … ) of level i, from its encoder's output and the nodes of the level below."""
        row = [encoded]
        nodes = cast(nn.ModuleList, self.nodes[i])
        for node, below in zip(nodes, row_below, strict=True):
            row.append(node(below, row))
        return row


class NestedNode(nn.Module):
    """Upsamples a node of the level below, concatenates the `skips` nodes of its own level, applies a block."""

    def __init__(self, channels_below: int, channels: int, skips: int, block: Callable[..., nn.Module]) -> None:
        super().__init__()
        self.upsample = build_upsample(channels_below, channels)
        self.block = block((skips + 1) * channels, channels, stride=1)

    def forward(self, below: Tensor, skips: list[Tensor]) -> Tensor:
        joined: Tensor = self.block(torch.cat((*skips, self.upsample(below)), dim=1))
        return joined
