"""Opt-in faster layers of the U-Nets: fusions and pairing on a CPU, packing on a GPU; without them plain PyTorch.

A fusion is a subclass of the layer that it replaces, with the same submodules and parameters. `enable` changes the
class of matching layers in place, so names in the state dict, copies, checkpointing, DDP and torch.compile are
unaffected.
"""

from __future__ import annotations

from torch import nn

from brats_ablate.models.kernels.fused_norm_relu import FusedConvLayer
from brats_ablate.models.kernels.fused_upsample_conv import FusedDecoderStage
from brats_ablate.models.kernels.packed_conv import PackedConv3d
from brats_ablate.models.kernels.paired_conv import PairedConv3d


def enable(model: nn.Module) -> None:
    """Switch the fusions of a CPU on in place; each decides per input whether it is faster than the plain layers."""
    _replace(model, FusedConvLayer, FusedDecoderStage)


def enable_packing(model: nn.Module) -> None:
    """Switch the packing of a GPU on in place; each layer decides per input whether it is faster."""
    _replace(model, PackedConv3d)


def enable_pairing(model: nn.Module) -> None:
    """Switch the pairing of a CPU on in place; each layer decides per input whether it is faster."""
    _replace(model, PairedConv3d)


def _replace(
    model: nn.Module, *fusions: type[FusedConvLayer | FusedDecoderStage | PackedConv3d | PairedConv3d]
) -> None:
    for module in model.modules():
        for fusion in fusions:
            if fusion.replaces(module):
                module.__class__ = fusion
