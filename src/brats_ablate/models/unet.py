"""The paper's U-Net, built of the parts that it is handed: a column of Table 2 or 3 exchanges one of them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from brats_ablate.errors import ConfigError
from brats_ablate.models.base import SegmentationModel, SegmentationOutput, initialize
from brats_ablate.models.blocks import BlockFactory, Drop
from brats_ablate.models.dropblock import NoDrop
from brats_ablate.models.encoder import EncoderConfig
from brats_ablate.models.upsample import Upsample

UpsampleFactory = Callable[[int, int], nn.Module]
"""Makes a layer of `upsample`."""


class UNetBase(SegmentationModel):
    """A network whose input is halved by each stage but the first, with heads on its finest decoder stages.

    Raises:
        ConfigError: the patch does not fit the number of stages, or there are more heads than decoder stages.
    """

    supports_deep_supervision = True
    per_stage = ("encoder.channels",)
    min_bottom_voxels = 2

    def __init__(self, patch_shape: tuple[int, int, int], n_stages: int, n_heads: int) -> None:
        step = 2 ** (n_stages - 1)
        super().__init__(patch_shape, (step, step, step))
        if not 1 <= n_heads < n_stages:
            raise ConfigError(
                f"{n_heads} heads need more than {n_heads} stages; add channels to encoder or set supervision=none"
            )


class UNet(UNetBase):
    """U-Net: (B, C, X, Y, Z) -> logits of the `n_heads` finest decoder stages (paper section 2.3, Fig. 2).

    An encoder stage halves the resolution (the finest does not) and sets the channels. A decoder stage doubles the
    resolution, concatenates the gated skip and applies a block. The heads are 1³ convolutions with biases. Convolutions
    before a norm have none, as the norm would cancel it.

    Arguments that are not described here are those of `SegmentationModel`.

    Args:
        encoder_block: see `blocks`.
        decoder_block: see `blocks`.
        gate: see `attention_gate`.
        drop: see `dropblock`.
        blocks_per_level: encoder blocks of each stage, finest first; deeper stages repeat the last number.
        checkpointing: recompute each stage's activations in the backward pass: less memory, a third more work.
        drop_stages: number of encoder stages in which `drop` acts, counted from the bottleneck up.
        upsample: see `upsample`.

    Raises:
        ConfigError: also if `drop_stages` is negative.
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
        gate: Callable[[int], nn.Module],
        drop: Drop,
        blocks_per_level: list[int],
        checkpointing: bool,
        drop_stages: int = 3,  # the defaults of these two are for configurations that earlier versions recorded
        upsample: UpsampleFactory = Upsample,
    ) -> None:
        channels = encoder.scaled
        super().__init__(patch_shape, len(channels), n_heads)
        if drop_stages < 0:
            raise ConfigError(f"model.drop_stages={drop_stages} must be 0 or more; the default is 3")
        self.checkpointing = checkpointing
        self.encoder = build_encoder(in_channels, channels, encoder_block, drop, drop_stages, blocks_per_level)
        self.decoder = nn.ModuleList(  # finest first, as every list of stages here
            DecoderStage(coarse, width, decoder_block, gate, upsample) for width, coarse in pairwise(channels)
        )
        self.heads = build_heads(channels, out_channels, n_heads)
        initialize(self)

    def forward(self, x: Tensor) -> SegmentationOutput:
        skips = []
        for stage in self.encoder:
            x = self._run(stage, x)
            skips.append(x)
        x = skips.pop()
        logits: list[Tensor] = []
        for i in reversed(range(len(self.decoder))):
            x = self._run(self.decoder[i], x, skips.pop())
            if i < len(self.heads):
                logits.insert(0, self.heads[i](x))
        return SegmentationOutput(logits, {})

    def _run(self, stage: nn.Module, *inputs: Tensor) -> Tensor:
        if self.checkpointing and self.training:
            # The recomputation repeats DropBlock's masks, as the generator's state is restored for it.
            return cast(Tensor, checkpoint(stage, *inputs, use_reentrant=False, preserve_rng_state=True))
        return cast(Tensor, stage(*inputs))


class DecoderStage(nn.Module):
    """Upsamples the coarser stage's map, concatenates the gated skip, applies a block."""

    def __init__(
        self,
        coarse_channels: int,
        channels: int,
        block: BlockFactory,
        gate: Callable[[int], nn.Module],
        upsample: UpsampleFactory = Upsample,
    ) -> None:
        super().__init__()
        self.upsample = upsample(coarse_channels, channels)
        self.gate = gate(channels)
        self.block = block(2 * channels, channels, stride=1)

    def forward(self, coarse: Tensor, skip: Tensor) -> Tensor:
        """(B, D, X, Y, Z) and (B, C, 2X, 2Y, 2Z) -> (B, C, 2X, 2Y, 2Z)."""
        upsampled = self.upsample(coarse)
        return cast(Tensor, self.block(torch.cat((upsampled, self.gate(skip, upsampled)), dim=1)))


def build_encoder(
    in_channels: int,
    channels: tuple[int, ...],
    block: BlockFactory,
    drop: Drop,
    drop_stages: int,
    blocks_per_stage: list[int],
) -> nn.ModuleList:
    """Build the encoder, finest stage first; a stage's first block changes resolution and channels.

    `drop` acts in the last `drop_stages` stages.
    """
    stages = nn.ModuleList()
    for i, width in enumerate(channels):
        make = partial(block, drop=drop if i >= len(channels) - drop_stages else NoDrop)
        first = make(channels[i - 1], width, stride=2) if i else make(in_channels, width, stride=1)
        more = blocks_per_stage[min(i, len(blocks_per_stage) - 1)] - 1
        stages.append(nn.Sequential(first, *(make(width, width, stride=1) for _ in range(more))))
    return stages


def build_heads(channels: tuple[int, ...], out_channels: int, n_heads: int) -> nn.ModuleList:
    """Build a 1³ convolution to the logits for each of the `n_heads` finest stages."""
    return nn.ModuleList(nn.Conv3d(width, out_channels, 1) for width in channels[:n_heads])
