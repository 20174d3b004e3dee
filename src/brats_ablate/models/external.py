"""Any `torch.nn.Module` as a `SegmentationModel`: MONAI's networks, or the user's own."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor, nn

from brats_ablate.errors import ConfigError
from brats_ablate.models import norm
from brats_ablate.models.base import SegmentationModel, SegmentationOutput


class ExternalModel(SegmentationModel):
    """An adapter around a network from (B, C, X, Y, Z) to logits, which is otherwise left as it is.

    The network keeps its own initial weights and norms. Its class may declare the attributes of `SegmentationModel`,
    such as `size_divisor`.

    Args:
        network: constructor of the network. It gets those of `patch_shape` and `arguments` that it takes.
        patch_shape: (X, Y, Z) of the training patches.
        size_divisor: what each axis of any input must be divisible by; None for what the class declares, or 1.
        replace_norms: replace instance norms by layout-preserving ones, which are faster.
        arguments: what the job derives: in_channels, out_channels, encoder and the number of heads.

    Raises:
        ConfigError: `network` constructs no module, or the patch is not divisible by `size_divisor`.
    """

    def __init__(
        self,
        network: Callable[..., nn.Module],
        patch_shape: tuple[int, int, int],
        size_divisor: list[int] | None = None,
        replace_norms: bool = False,
        **arguments: Any,
    ) -> None:
        constructor = getattr(network, "func", network)
        declared: Sequence[int] = getattr(constructor, "size_divisor", SegmentationModel.size_divisor)
        x, y, z = size_divisor or declared
        super().__init__(patch_shape, (x, y, z))
        parameters = inspect.signature(network).parameters
        accepted = set(parameters)
        if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
            accepted |= {"in_channels", "out_channels"}
        arguments["patch_shape"] = patch_shape
        self.name = getattr(constructor, "__name__", str(constructor))
        self.network = network(**{key: value for key, value in arguments.items() if key in accepted})
        if not isinstance(self.network, nn.Module):
            raise ConfigError(f"model: {self.name} constructs a {type(self.network).__name__}, not a torch.nn.Module")
        if replace_norms:
            norm.replace_norms(self.network)

    def forward(self, x: Tensor) -> SegmentationOutput:
        """Map (B, C, X, Y, Z) to the network's logits; several tensors are heads, finest first."""
        output = self.network(x)
        if isinstance(output, SegmentationOutput):
            return output
        logits = list(output) if isinstance(output, Sequence) else [output]
        if not all(isinstance(head, Tensor) for head in logits):
            kind = type(output).__name__
            raise ConfigError(f"model: {self.name} returns {kind}; it must return logits (B, K, X, Y, Z)")
        return SegmentationOutput(logits, {})
