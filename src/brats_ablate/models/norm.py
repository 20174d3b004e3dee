"""Layout-preserving instance and group norm.

`nn.InstanceNorm3d` folds the batch into the channels. This turns a channels_last_3d tensor into a contiguous one and
costs two layout copies per layer, forward and backward. Instance norm of one sample is batch norm in training mode, and
`F.batch_norm` has kernels for both layouts and for mixed precision.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from brats_ablate.errors import ConfigError


class InstanceNorm(nn.Module):
    """Instance norm of (B, C, X, Y, Z) with the values of `nn.InstanceNorm3d`, in the layout of its input.

    Each sample's own statistics are used in training and evaluation alike. Ulyanov et al., arXiv:1607.08022.

    Raises:
        ConfigError: a channel has a single voxel, where its variance is undefined.
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
                "one voxel is left at the bottom of the network, which cannot be normalized; "
                "use a larger patch (patches.shape) or fewer stages (encoder)"
            )
        if x.shape[0] == 1:
            return self._normalize(x)
        # Sample by sample: folding samples into channels would lose channels_last.
        return torch.cat([self._normalize(sample) for sample in x.split(1)])

    def _normalize(self, sample: Tensor) -> Tensor:
        return F.batch_norm(sample, None, None, self.weight, self.bias, training=True, eps=self.eps)

    def extra_repr(self) -> str:
        return f"{self.channels}, eps={self.eps}, affine={self.weight is not None}"


class GroupNorm(nn.GroupNorm):
    """Group norm of (B, C, X, Y, Z) that returns the layout of its input and computes in the contiguous one.

    The channels_last backward of torch's CPU kernel takes several times as long as two copies and the contiguous
    backward. Its CUDA kernel returns a contiguous tensor, which slows down every later layer. On a GPU the result has
    the type of the input, while autocast would return fp32, which doubles the memory of the activations; statistics
    are fp32 in both.
    """

    def forward(self, x: Tensor) -> Tensor:
        if x.is_cuda and x.dtype != torch.float32:
            with torch.autocast("cuda", enabled=False):
                weight, bias = (p if p is None else p.to(x.dtype) for p in (self.weight, self.bias))
                y = F.group_norm(x.contiguous(), self.num_groups, weight, bias, self.eps)
        else:
            y = super().forward(x.contiguous())
        return y.contiguous(memory_format=torch.channels_last_3d) if _is_channels_last(x) else y


def replace_norms(model: nn.Module) -> None:
    """Replace the instance and group norms of a foreign 3-D `model` by the classes above; weights and values stay.

    A norm that several modules share is replaced by one that they share.
    """
    replacements: dict[nn.Module, nn.Module | None] = {}
    for module in list(model.modules()):
        for name, child in module.named_children():
            if child not in replacements:
                replacements[child] = replacement = _make_replacement(child)
                if replacement is not None:
                    replacement.load_state_dict(child.state_dict())
            if (known := replacements[child]) is not None:
                setattr(module, name, known)


def restore_norms(model: nn.Module) -> None:
    """Replace every `InstanceNorm` by torch's, in place: the same values, in operations that other programs know."""
    for module in list(model.modules()):
        for name, child in module.named_children():
            if isinstance(child, InstanceNorm):
                plain = nn.InstanceNorm3d(child.channels, child.eps, affine=child.weight is not None)
                plain.load_state_dict(child.state_dict())
                setattr(module, name, plain)


def _make_replacement(norm: nn.Module) -> nn.Module | None:
    if isinstance(norm, nn.InstanceNorm3d) and not norm.track_running_stats:
        return InstanceNorm(norm.num_features, norm.eps, norm.affine)
    if isinstance(norm, nn.GroupNorm) and norm.num_groups == norm.num_channels:
        return InstanceNorm(norm.num_channels, norm.eps, norm.affine)
    if isinstance(norm, nn.GroupNorm):
        return GroupNorm(norm.num_groups, norm.num_channels, norm.eps, norm.affine)
    return None


def _is_channels_last(x: Tensor) -> bool:
    return x.is_contiguous(memory_format=torch.channels_last_3d) and not x.is_contiguous()
