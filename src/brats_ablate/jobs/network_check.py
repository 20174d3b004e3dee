"""Check of networks that are not this program's, before data is loaded or anything is submitted."""

from __future__ import annotations

from typing import Any

from omegaconf import DictConfig, OmegaConf

from brats_ablate.config.trust import is_own_class
from brats_ablate.errors import ConfigError
from brats_ablate.jobs import build
from brats_ablate.jobs.component_check import trains_or_plans
from brats_ablate.runtime.files import to_json

FITTING: set[str] = set()
"""Networks that were found to fit, so that a sweep checks each of them once."""


def check_network(cfg: DictConfig) -> None:
    """Construct the foreign network of a run on the meta device and compare its outputs with what the run needs.

    Its classes are imported by `check_components`. Does nothing for networks of this program, which declare what they
    need, and for jobs that train nothing.

    Raises:
        ConfigError: the network cannot be constructed, or does not fit.
    """
    model = str(cfg.model._target_)
    if not trains_or_plans(cfg) or (is_own_class(model) and model != build.ADAPTER):
        return
    derived = {name: str(value) for name, value in build.derived_arguments(cfg).items()}
    key = to_json([OmegaConf.to_container(cfg.model, resolve=True), derived, str(cfg.inference.window._target_)])
    if key not in FITTING:
        _check_fit(cfg, "model.network" if model == build.ADAPTER else "model")
        FITTING.add(key)


def _check_fit(cfg: DictConfig, path: str) -> None:
    from brats_ablate.jobs.build_inference import build_window
    from brats_ablate.models.external import ExternalModel
    from brats_ablate.models.trial import on_meta_device

    node: Any = OmegaConf.to_container(OmegaConf.select(cfg, path), resolve=True)
    if not isinstance(node, dict) or "_target_" not in node:
        raise ConfigError(f"{path} must name the class of a network as _target_")
    model: Any = on_meta_device(lambda: build.build_model(cfg))
    if isinstance(model, ExternalModel):
        build_window(cfg, model)
