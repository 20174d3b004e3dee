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


class GroupNorm(nn.GroupNorm):
    """Group norm of (B, C, X, Y, Z) that returns the layout it is given and computes in the contiguous one.

    The channels_last backward of torch's CPU kernel takes several times as long as both copies and the contiguous one;
    its CUDA kernel returns a contiguous tensor, and every later layer would be slower for it.
    """

    def forward(self, x: Tensor) -> Tensor:
        y = super().forward(x.contiguous())
        return y.contiguous(memory_format=torch.channels_last_3d) if _is_channels_last(x) else y


def replace_norms(model: nn.Module) -> None:
    """Exchange the instance and group norms of a foreign 3-D `model` for the ones above, weights and numbers kept."""
    for module in list(model.modules()):
        for name, child in module.named_children():
            own = _counterpart(child)
            if own is not None:
                own.load_state_dict(child.state_dict())
                setattr(module, name, own)


def _counterpart(norm: nn.Module) -> nn.Module | None:
    if isinstance(norm, nn.InstanceNorm3d) and not norm.track_running_stats:
        return InstanceNorm(norm.num_features, norm.eps, norm.affine)
    if isinstance(norm, nn.GroupNorm) and norm.num_groups == norm.num_channels:
        return InstanceNorm(norm.num_channels, norm.eps, norm.affine)
    if isinstance(norm, nn.GroupNorm):
        return GroupNorm(norm.num_groups, norm.num_channels, norm.eps, norm.affine)
    return None


def _is_channels_last(x: Tensor) -> bool:
    return x.is_contiguous(memory_format=torch.channels_last_3d) and not x.is_contiguous()
