"""Opt-in CPU fusions of the U-Nets' layers; without them the networks are plain PyTorch.

A fusion is a subclass of the layer that it replaces, with the same submodules and parameters. `enable` changes the
class of matching layers in place, so names in the state dict, copies, checkpointing, DDP and torch.compile are
unaffected.
"""

from __future__ import annotations

from torch import nn

from brats_ablate.models.kernels.fused_norm_relu import FusedConvLayer
from brats_ablate.models.kernels.fused_upsample_conv import FusedDecoderStage


def enable(model: nn.Module) -> None:
    """Switch the fusions on in place; each decides per input whether it is faster than the plain layers."""
    for module in model.modules():
        for fusion in (FusedConvLayer, FusedDecoderStage):
            if fusion.replaces(module):
                module.__class__ = fusion
