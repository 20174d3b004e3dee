"""Composes configurations in this process; no data is needed."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from brats_ablate.config.locations import folder


@pytest.fixture
def composition() -> Callable[..., DictConfig]:
    """`composition("+experiment=ds", "fold=1")`."""

    def make(*overrides: str) -> DictConfig:
        with initialize_config_dir(str(folder("conf")), version_base="1.3"):
            return compose("config", list(overrides))

    return make
