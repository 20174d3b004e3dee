"""Networks that nnU-Net v2 trained, as this program's: softmax over classes, and architectures of its own package."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any, cast

import torch
from torch import Tensor, nn

from brats_ablate.errors import ConfigError
from brats_ablate.models.base import SegmentationModel, SegmentationOutput

_ARCHITECTURES = "dynamic_network_architectures.architectures."
_CLASSES = ("conv_op", "norm_op", "dropout_op", "nonlin")
"""Arguments of an architecture that are classes of torch, written by name."""


class SoftmaxRegions(SegmentationModel):
    """A network of exclusive classes (softmax) as one of regions (sigmoid).

    A region's logit is logsumexp of the classes in it minus logsumexp of the others, so its sigmoid is the sum of the
    softmax of its classes. Where windows are averaged as logits, those of the classes are (`jobs.build`).

    Arguments that are not described here are those of `SegmentationModel`.

    Args:
        network: constructor of a `SegmentationModel` with as many output channels as there are classes.
        classes: number of classes, background included.
        regions: the classes of each region, in the order of the label scheme.

    Raises:
        ConfigError: a region contains no class, or all of them.
    """

    def __init__(
        self,
        network: Callable[..., SegmentationModel],
        classes: int,
        regions: Sequence[Sequence[int]],
        in_channels: int,
        out_channels: int,
        n_heads: int,
        patch_shape: tuple[int, int, int],
        encoder: Any,
    ) -> None:
        if len(regions) != out_channels or not all(0 < len(set(own)) < classes for own in regions):
            raise ConfigError(f"model.regions={[list(own) for own in regions]} must be {out_channels} sets of classes")
        model = network(
            in_channels=in_channels, out_channels=classes, n_heads=n_heads, patch_shape=patch_shape, encoder=encoder
        )
        super().__init__(patch_shape, model.size_divisor)
        self.network = model
        self.inside = tuple(tuple(sorted(set(own))) for own in regions)
        self.outside = tuple(tuple(c for c in range(classes) if c not in own) for own in self.inside)

    def forward(self, x: Tensor) -> SegmentationOutput:
        """Map (B, C, X, Y, Z) to the logits of the regions, of each head."""
        output: SegmentationOutput = self.network(x)
        return SegmentationOutput([self.region_logits(logits) for logits in output.logits], output.aux)

    def region_logits(self, classes: Tensor) -> Tensor:
        """Map logits of the classes (B, classes, X, Y, Z) to those of the regions (B, R, X, Y, Z), float32."""
        classes = classes.float()
        pairs = zip(self.inside, self.outside, strict=True)
        return torch.stack([_logsumexp(classes, own) - _logsumexp(classes, others) for own, others in pairs], dim=1)


def averaged_part(model: SegmentationModel, average: str) -> tuple[SegmentationModel, Callable[[Tensor], Tensor]]:
    """Return the network whose outputs windows average, and the map of the average to the outputs of `model`.

    `average` is `inference.average`. Logits of a softmax network are those of its classes; else both are the same.
    """
    if isinstance(model, SoftmaxRegions) and average == "logits":
        return model.network, model.region_logits
    return model, _unchanged


def _unchanged(values: Tensor) -> Tensor:
    return values


def _logsumexp(logits: Tensor, channels: Sequence[int]) -> Tensor:
    # An index of a list would be copied to a GPU in each call, which waits for all that is queued there.
    return torch.stack([logits[:, channel] for channel in channels], dim=1).logsumexp(dim=1)


class DynamicNetwork(nn.Module):
    """A network of the package dynamic-network-architectures, which nnU-Net's plans describe.

    Args:
        in_channels: of the input.
        out_channels: of the logits.
        architecture: class below `dynamic_network_architectures.architectures`, e.g. `unet.PlainConvUNet`.
        arguments: of its constructor, without the channels; classes of torch by their names.

    Raises:
        ConfigError: the package is not installed, or has no such class.
    """

    def __init__(self, in_channels: int, out_channels: int, architecture: str, arguments: Mapping[str, Any]) -> None:
        super().__init__()
        module, _, name = f"{_ARCHITECTURES}{architecture}".rpartition(".")
        try:
            found = getattr(import_module(module), name, None)
        except ImportError as error:
            if (error.name or "").partition(".")[0] not in ("dynamic_network_architectures", "timm"):
                raise
            raise ConfigError(
                f"{architecture} of nnU-Net needs a package; install it with pip install 'brats-ablate[nnunet]'"
            ) from error
        if not (isinstance(found, type) and issubclass(found, nn.Module)):
            raise ConfigError(f"dynamic-network-architectures has no {architecture}; install nnU-Net's version of it")
        values = {key: _torch_class(key, value) if key in _CLASSES else value for key, value in arguments.items()}
        try:
            self.network = found(input_channels=in_channels, num_classes=out_channels, deep_supervision=False, **values)
        except TypeError as error:
            raise ConfigError(f"{architecture} of the installed dynamic-network-architectures: {error}") from error

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, X, Y, Z) to logits of the same size."""
        return cast(Tensor, self.network(x))


def _torch_class(key: str, name: str | None) -> type[nn.Module] | None:
    """Return the class of `torch.nn` with this name, whatever module of torch the plans name before it."""
    if name is None:
        return None
    found = getattr(nn, name.rpartition(".")[2], None) if name.startswith("torch.nn.") else None
    if not (isinstance(found, type) and issubclass(found, nn.Module)):
        raise ConfigError(f"{key}={name} of nnU-Net's plans is no layer of torch")
    return found
