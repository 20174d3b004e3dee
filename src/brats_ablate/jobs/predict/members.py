"""Load a member of an ensemble: rebuild its network from its run's recorded configuration.

The command line does not change the network, so experiments of any architecture and size can be averaged.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from omegaconf import DictConfig, OmegaConf

from brats_ablate.config.constraints import whole_volume_and_model
from brats_ablate.errors import ConfigError
from brats_ablate.inference.ensemble import EnsembleMember, check_checkpoint

if TYPE_CHECKING:
    from torch import Tensor

    from brats_ablate.training.precision import Precision
    from brats_ablate.transforms.foreground import InputChannels


@dataclass(frozen=True)
class Predictor:
    """A loaded network with its input builder and its window over a whole volume."""

    channels: InputChannels
    input_key: str
    """Members of the same key take the same input volume."""
    predict: Callable[[Tensor], Tensor]
    """(1, C, X, Y, Z) -> (1, 3, X, Y, Z) region probabilities."""


def load_member(member: EnsembleMember, inference: DictConfig, precision: Precision) -> Predictor:
    """Rebuild the member's network, with the window of `inference`, on the precision's device.

    Raises:
        RunFailed: the checkpoint has a different configuration from its run; names the differences.
        ConfigError: the network does not support this window.
    """
    from brats_ablate.jobs import build
    from brats_ablate.training import checkpoint

    check_checkpoint(member, checkpoint.load(member.checkpoint).get("identity", {}))
    cfg = OmegaConf.create(member.run.config())
    assert isinstance(cfg, DictConfig)
    cfg.inference = inference
    reason = whole_volume_and_model({"inference": dict(cfg.inference), "model": dict(cfg.model)})
    if reason is not None:
        raise ConfigError(reason)
    model = build.build_model(cfg)
    checkpoint.load_weights(member.checkpoint, model)
    build.execute_on(model, precision.device).eval()
    window, network = build.build_window(cfg, model), build.probabilities_network(model, precision)
    channels: InputChannels = build.instantiate(cfg.inputs)
    return Predictor(channels, str(cfg.inputs), partial(window, network))
