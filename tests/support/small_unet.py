"""A narrow network of this package, for tests that train or take it apart."""

from __future__ import annotations

import torch
from torch import nn

from brats_ablate.models.attention_gate import NoGate
from brats_ablate.models.blocks import ConvBlock
from brats_ablate.models.dropblock import NoDrop
from brats_ablate.models.encoder import EncoderConfig
from brats_ablate.models.unet import UNet


def small_unet(channels: list[int], patch_shape: tuple[int, int, int], gate: type[nn.Module] = NoGate) -> UNet:
    """Build the baseline network with these channels, two heads and the weights of seed 0."""
    torch.manual_seed(0)
    return UNet(
        in_channels=4,
        out_channels=3,
        n_heads=2,
        patch_shape=patch_shape,
        encoder=EncoderConfig(channels),
        encoder_block=ConvBlock,
        decoder_block=ConvBlock,
        gate=gate,
        drop=NoDrop,
        blocks_per_level=[1],
        checkpointing=False,
    )
