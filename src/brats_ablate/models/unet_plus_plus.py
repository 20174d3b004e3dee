"""U-Net++: a variant that the paper names and did not run; the baseline with nested skip connections."""

from __future__ import annotations

from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn

from brats_ablate.models.base import SegmentationOutput, initialize
from brats_ablate.models.blocks import BlockFactory
from brats_ablate.models.dropblock import NoDrop
from brats_ablate.models.encoder import EncoderConfig
from brats_ablate.models.unet import UNetBase, build_encoder, build_heads
from brats_ablate.models.upsample import Upsample


class UNetPlusPlus(UNetBase):
    """U-Net++: (B, C, X, Y, Z) -> logits (Zhou et al., arXiv:1807.10165), of the baseline's stages and blocks.

    Node (i, j) of stage i concatenates the nodes (i, 0 … j-1) with the upsampled node (i+1, j-1) and applies a block;
    column 0 is the encoder. The heads sit on the last node of the finest stages, as in `UNet`, so that the supervision
    is not a second difference; Zhou et al. supervise every node of stage 0. The arguments are those of `unet.UNet`.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        n_heads: int,
        patch_shape: tuple[int, int, int],
        encoder: EncoderConfig,
        encoder_block: BlockFactory,
        decoder_block: BlockFactory,
    ) -> None:
        channels = encoder.scaled
        super().__init__(patch_shape, len(channels), n_heads)
        self.encoder = build_encoder(in_channels, channels, encoder_block, NoDrop, 0, [1])
        self.nodes = nn.ModuleList(  # nodes[i][j - 1] is node (i, j)
            nn.ModuleList(NestedNode(coarse, width, j, decoder_block) for j in range(1, len(channels) - i))
            for i, (width, coarse) in enumerate(pairwise(channels))
        )
        self.heads = build_heads(channels, out_channels, n_heads)
        initialize(self)

    def forward(self, x: Tensor) -> SegmentationOutput:
        encoded = []
        for stage in self.encoder:
            x = stage(x)
            encoded.append(x)
        row = [encoded.pop()]
        logits: list[Tensor] = []
        for i in reversed(range(len(encoded))):
            row = self._row(i, encoded[i], row)
            if i < len(self.heads):
                logits.insert(0, self.heads[i](row[-1]))
        return SegmentationOutput(logits, {})

    def _row(self, i: int, encoded: Tensor, coarse_row: list[Tensor]) -> list[Tensor]:
        """Compute the nodes (i, 0 …) of stage i from its encoder's output and the nodes of the coarser stage."""
        row = [encoded]
        nodes = cast(nn.ModuleList, self.nodes[i])
        for node, coarse in zip(nodes, coarse_row, strict=True):
            row.append(node(coarse, row))
        return row


class NestedNode(nn.Module):
    """Upsamples a node of the coarser stage, concatenates the `skips` nodes of its own stage, applies a block."""

    def __init__(self, coarse_channels: int, channels: int, skips: int, block: BlockFactory) -> None:
        super().__init__()
        self.upsample = Upsample(coarse_channels, channels)
        self.block = block((skips + 1) * channels, channels, stride=1)

    def forward(self, coarse: Tensor, skips: list[Tensor]) -> Tensor:
        return cast(Tensor, self.block(torch.cat((*skips, self.upsample(coarse)), dim=1)))
