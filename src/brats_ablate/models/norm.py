"""Instance normalisation that keeps the memory layout: the layer that decides how fast every convolutional
network is.

`nn.InstanceNorm3d` folds the batch into the channels, which turns a channels_last_3d tensor into a contiguous
one and costs two layout copies per layer, forward and backward. Over one sample, instance norm is batch norm
in training mode, and `F.batch_norm` has kernels for both layouts and for mixed precision.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from brats_ablate.errors import ConfigError


class InstanceNorm(nn.Module):
    """Instance norm of (B, C, X, Y, Z) with the numbers of `nn.InstanceNorm3d(affine=True)`, in the layout it
    is given.

    Each sample's own statistics are used in training and evaluation alike. Ulyanov et al., arXiv:1607.08022.

    Raises:
        ConfigError: if a channel holds a single voxel, where its variance is undefined.
    """

    def __init__(self, channels: int, eps: float = 1e-5, affine: bool = True) -> None:
        super().__init__()
        self.channels = channels
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(channels)) if affine else None
        self.bias = nn.Parameter(torch.zeros(channels)) if affine else None

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[2:].numel() == 1:
            raise ConfigError(
                "one voxel is left at the bottom of the network, which cannot be normalised; "
                "take a larger patch (patches.shape) or fewer levels (encoder)"
            )
        if x.shape[0] == 1:
            return self._normalise(x)
        # Sample by sample: folding samples into channels would lose channels_last.
        return torch.cat([self._normalise(sample) for sample in x.split(1)])

    def _normalise(self, sample: Tensor) -> Tensor:
        return F.batch_norm(sample, None, None, self.weight, self.bias, training=True, eps=self.eps)

    def extra_repr(self) -> str:
        return f"{self.channels}, eps={self.eps}, affine={self.weight is not None}"


def keep_layout(model: nn.Module) -> None:
    """Exchange every `nn.InstanceNorm3d` of `model` for an `InstanceNorm`: the same numbers in the layout given."""
    for module in list(model.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.InstanceNorm3d) and not child.track_running_stats:
                setattr(module, name, InstanceNorm(child.num_features, child.eps, child.affine))
