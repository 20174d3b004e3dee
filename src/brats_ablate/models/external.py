"""Any `torch.nn.Module` as a `SegmentationModel`: networks of MONAI and nnU-Net, or the user's own."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from torch import Tensor, nn

from brats_ablate.errors import ConfigError
from brats_ablate.models import norm
from brats_ablate.models.base import SegmentationModel, SegmentationOutput
from brats_ablate.models.trial import Task, logits_of, try_network


class ExternalModel(SegmentationModel):
    """An adapter around a network from (B, C, X, Y, Z) to logits, which is otherwise left as it is.

    The network keeps its own initial weights and norms. It is tried on the meta device first (see `trial`), which finds
    `size_divisor` and `fixed_shape` unless its class declares them. Of its heads, the `n_heads` finest are supervised;
    parameters that none of these depends on are frozen.

    Args:
        network: constructor of the network. It gets those of the derived arguments (`in_channels`, `out_channels`,
            `n_heads`, `patch_shape`, `encoder`) that it takes and that are not set.
        size_divisor: what each axis of any input must be divisible by; None for what the class declares or the trial
            finds.
        replace_norms: replace instance and group norms by layout-preserving ones, which are faster.
        initialize: draw the initial weights by the network's own method `initialize`, as nnU-Net does.

    Raises:
        ConfigError: `network` is no network for these channels, heads and patches.
    """

    supports_deep_supervision = None  # the trial counts the heads

    def __init__(
        self,
        network: Callable[..., nn.Module],
        patch_shape: tuple[int, int, int],
        in_channels: int,
        out_channels: int,
        n_heads: int,
        encoder: object = None,
        size_divisor: list[int] | None = None,
        replace_norms: bool = False,
        initialize: bool = False,
    ) -> None:
        constructor = getattr(network, "func", network)
        x, y, z = patch_shape
        name = getattr(constructor, "__name__", str(constructor))
        task = Task(name, in_channels, out_channels, n_heads, (x, y, z))
        derived = {"in_channels": in_channels, "out_channels": out_channels, "n_heads": n_heads}
        construct = partial(network, **_accepted(network, derived | {"patch_shape": (x, y, z), "encoder": encoder}))
        declared: Sequence[int] | None = size_divisor or getattr(constructor, "size_divisor", None)
        trial = try_network(
            construct,
            task,
            None if declared is None else (declared[0], declared[1], declared[2]),
            fixed_shape=bool(getattr(constructor, "fixed_shape", False)),
        )
        super().__init__((x, y, z), trial.size_divisor)
        self.fixed_shape = trial.fixed_shape
        self.n_heads, self.name = n_heads, name
        self.network = construct()
        for parameter in trial.without_gradient:
            self.network.get_parameter(parameter).requires_grad_(False)
        if initialize:
            own: Any = getattr(self.network, "initialize", None)
            if not callable(own):
                raise ConfigError(
                    f"model.initialize=true, but {name} has no method initialize; set model.initialize=false"
                )
            self.network.apply(own)
        if replace_norms:
            norm.replace_norms(self.network)

    def forward(self, x: Tensor) -> SegmentationOutput:
        """Map (B, C, X, Y, Z) to the logits of the supervised heads, finest first; in evaluation fewer may be there."""
        output = logits_of(self.network(x), self.name)
        return SegmentationOutput(output.logits[: self.n_heads], output.aux)


def _accepted(network: Callable[..., nn.Module], derived: dict[str, Any]) -> dict[str, Any]:
    """Return those of the `derived` arguments that the constructor takes and that are not set."""
    parameters = inspect.signature(network).parameters
    accepted = set(parameters)
    if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        accepted |= {"in_channels", "out_channels"}
    accepted -= getattr(network, "keywords", {}).keys()
    return {key: value for key, value in derived.items() if key in accepted}
