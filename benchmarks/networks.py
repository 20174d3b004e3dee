"""The paper's baseline U-Net in this project, nnU-Net v2 and MONAI, with the same convolutions in each.

Each network is built as its library builds it (with biases in nnU-Net's convolutions, without in MONAI's transposed
ones). Deep supervision is off, as it would add the same heads to all.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from brats_ablate.models.encoder import EncoderConfig
from dataset import LABELS

CHANNELS = [32, 64, 128, 256, 320, 320]
OURS, NNUNET, MONAI = "ours", "nnU-Net v2 PlainConvUNet", "MONAI DynUNet"


def build(name: str, patch: int, width: float = 1.0, levels: int = len(CHANNELS)) -> nn.Module:
    """Build the network `name`: (B, 4, X, Y, Z) -> (B, 3, X, Y, Z) logits; fewer `levels` only test a script."""
    torch.manual_seed(0)
    encoder = EncoderConfig(CHANNELS[:levels], width)
    return {OURS: _ours, NNUNET: _nnunet, MONAI: _monai}[name](patch, encoder)


class _Finest(nn.Module):
    """Our network with the finest head as its only output, like the others."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.model(x).logits[0]
        return logits


def _ours(patch: int, encoder: EncoderConfig) -> nn.Module:
    from brats_ablate.models.attention_gate import NoGate
    from brats_ablate.models.blocks import ConvBlock
    from brats_ablate.models.dropblock import NoDrop
    from brats_ablate.models.unet import UNet

    model = UNet(
        in_channels=4,
        out_channels=3,
        n_heads=1,
        patch_shape=(patch, patch, patch),
        encoder=encoder,
        encoder_block=ConvBlock,
        decoder_block=ConvBlock,
        gate=NoGate,
        drop=NoDrop,
        blocks_per_level=[1],
        checkpointing=False,
    )
    return _Finest(model)


def _nnunet(patch: int, encoder: EncoderConfig) -> nn.Module:
    from dynamic_network_architectures.architectures.unet import PlainConvUNet

    levels = len(encoder.scaled)
    return PlainConvUNet(
        input_channels=4,
        n_stages=levels,
        features_per_stage=list(encoder.scaled),
        conv_op=nn.Conv3d,
        kernel_sizes=[[3, 3, 3]] * levels,
        strides=[[1, 1, 1]] + [[2, 2, 2]] * (levels - 1),
        n_conv_per_stage=[2] * levels,
        num_classes=3,
        n_conv_per_stage_decoder=[2] * (levels - 1),
        conv_bias=True,
        norm_op=nn.InstanceNorm3d,
        norm_op_kwargs={"eps": 1e-5, "affine": True},
        nonlin=nn.LeakyReLU,
        nonlin_kwargs={"inplace": True},
        deep_supervision=False,
    )


def _monai(patch: int, encoder: EncoderConfig) -> nn.Module:
    from monai.networks.nets import DynUNet

    levels = len(encoder.scaled)
    return DynUNet(
        spatial_dims=3,
        in_channels=4,
        out_channels=3,
        kernel_size=[[3, 3, 3]] * levels,
        strides=[[1, 1, 1]] + [[2, 2, 2]] * (levels - 1),
        upsample_kernel_size=[[2, 2, 2]] * (levels - 1),
        filters=list(encoder.scaled),
        norm_name=("INSTANCE", {"affine": True}),
        act_name=("leakyrelu", {"inplace": True, "negative_slope": 0.01}),
        deep_supervision=False,
        res_block=False,
    )


def optimizer_of(name: str, parameters: Any) -> torch.optim.Optimizer:
    """Return the optimizer of each library: SGD for nnU-Net, Adam for MONAI, fused Adam for ours."""
    if name == NNUNET:
        return torch.optim.SGD(parameters, 1e-2, momentum=0.99, nesterov=True, weight_decay=3e-5)
    return torch.optim.Adam(parameters, 7e-4, weight_decay=1e-4, fused=name == OURS or None)


def region_loss() -> Callable[[Tensor, Tensor], Tensor]:
    """Return the loss of all candidates: our binary cross-entropy + Dice."""
    from brats_ablate.losses.region_loss import RegionLoss
    from brats_ablate.losses.voxelwise import BinaryCrossEntropy

    terms = RegionLoss(BinaryCrossEntropy(), "process", 1e-5, LABELS)
    return lambda logits, labels: torch.stack(list(terms(logits, labels).values())).sum()
