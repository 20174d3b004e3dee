"""The paper's U-Net, built of the parts that it is handed: a column of Table 2 or 3 exchanges one of them."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from brats_ablate.models.attention_gate import NoGate
from brats_ablate.models.base import SegmentationOutput, initialize
from brats_ablate.models.blocks import ConvBlock
from brats_ablate.models.encoder import EncoderConfig
from brats_ablate.models.kernels import fused_upsample_conv
from brats_ablate.models.stages import UNetBase, build_encoder, build_heads, build_upsample


class UNet(UNetBase):
    """U-Net: (B, C, X, Y, Z) -> logits of the `heads` finest decoder levels (paper section 2.3, Fig. 2).

    An encoder level halves the resolution (the finest one does not) and sets the level's channels; a decoder
    level doubles it by a 2³ transposed convolution, concatenates the gated skip and applies a block; 1³
    convolutions are the heads. Without bias but in the heads, which reproduces the paper's code.

    Args:
        in_channels, out_channels: C, and the number of regions.
        heads: decoder levels with a head, from the finest down; all of them answer in every mode.
        patch_shape: (X, Y, Z) of the training patches; any divisible shape may be given to `forward`.
        encoder: channels per level.
        encoder_block, decoder_block: see `blocks`.
        gate: see `gates`.
        drop: see `drop`; acts in the `levels.DROP_LEVELS` deepest levels of the encoder.
        blocks_per_level: encoder blocks of each level, finest first; deeper levels repeat the last number.
        checkpointing: recompute each level's activations in the backward pass, for less memory and a third
            more work.

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
        gate: Callable[[int], nn.Module],
        drop: Callable[[], nn.Module],
        blocks_per_level: list[int],
        checkpointing: bool,
    ) -> None:
        channels = encoder.scaled
        super().__init__(patch_shape, len(channels), heads)
        self.checkpointing = checkpointing
        self.encoder = build_encoder(in_channels, channels, encoder_block, drop, blocks_per_level)
        self.decoder = nn.ModuleList(  # finest first, as every list of levels here
            DecoderLevel(below, width, decoder_block, gate) for width, below in pairwise(channels)
        )
        self.heads = build_heads(channels, out_channels, heads)
        initialize(self)

    def forward(self, x: Tensor) -> SegmentationOutput:
        skips = []
        for level in self.encoder:
            x = self._run(level, x)
            skips.append(x)
        x = skips.pop()
        logits: list[Tensor] = []
        for i in reversed(range(len(self.decoder))):
            x = self._run(self.decoder[i], x, skips.pop())
            if i < len(self.heads):
                logits.insert(0, self.heads[i](x))
        return SegmentationOutput(logits, {})

    def _run(self, level: nn.Module, *inputs: Tensor) -> Tensor:
        if self.checkpointing and self.training:
            # The recomputation repeats DropBlock's masks, as the generator's state is restored for it.
            return cast(Tensor, checkpoint(level, *inputs, use_reentrant=False, preserve_rng_state=True))
        return cast(Tensor, level(*inputs))


class DecoderLevel(nn.Module):
    """Upsamples the level below, concatenates the gated skip, applies a block.

    Where nothing but convolutions stands first, `merged` computes the same with less work.
    """

    def __init__(
        self,
        channels_below: int,
        channels: int,
        block: Callable[..., nn.Module],
        gate: Callable[[int], nn.Module],
    ) -> None:
        super().__init__()
        self.upsample = build_upsample(channels_below, channels)
        self.gate = gate(channels)
        self.block = block(2 * channels, channels, stride=1)

    def forward(self, below: Tensor, skip: Tensor) -> Tensor:
        if (
            isinstance(self.block, ConvBlock)
            and isinstance(self.gate, NoGate)
            and fused_upsample_conv.should_fuse(below, skip.shape[1])
        ):
            weight = self.block.entry.weight
            return self.block.after_entry(
                fused_upsample_conv.upsample_and_convolve(below, skip, self.upsample.weight, weight)
            )
        upsampled = self.upsample(below)
        return cast(Tensor, self.block(torch.cat((upsampled, self.gate(skip, upsampled)), dim=1)))
