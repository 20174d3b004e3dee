"""What the networks that are MONAI's share: one head, our norms for theirs, our initial weights."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from brats_ablate.errors import ConfigError
from brats_ablate.models.base import SegmentationModel, initialise
from brats_ablate.models.norm import keep_layout
from brats_ablate.models.output import Output


class MonaiModel(SegmentationModel):
    """A network of MONAI's; its subclass makes it and hands it to `adopt`.

    Args: `patch_shape` and `divisor` as `SegmentationModel`; `heads`: 1, as there are no lower heads to supervise.

    Raises:
        ConfigError: if the patch is not divisible by `divisor`, or for more than one head.
    """

    network: Any
    """MONAI's, which has no types."""

    def __init__(self, patch_shape: tuple[int, int, int], divisor: tuple[int, int, int], heads: int) -> None:
        super().__init__(patch_shape, divisor)
        if heads != 1:
            raise ConfigError(f"{type(self).__name__} has no lower heads to supervise; set supervision=none")

    def adopt(self, network: nn.Module) -> None:
        """Make `network` this model's: with norms that keep the layout, and weights initialised as everywhere."""
        keep_layout(network)
        self.network = network
        initialise(self)

    def forward(self, x: Tensor) -> Output:
        return Output([self.network(x)], {})
