"""Networks as the configuration composes them, at any size."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from composition import composed
from hydra.utils import instantiate
from omegaconf import OmegaConf

from brats_ablate.models.base import SegmentationModel


@pytest.fixture(autouse=True)
def _same_weights_and_data() -> None:
    torch.manual_seed(0)


@pytest.fixture
def build() -> Callable[..., SegmentationModel]:
    """build(model option, encoder option, **the job's arguments or a thinner width)."""

    def build_model(
        model: str,
        encoder: str = "depth6",
        *,
        in_channels: int = 4,
        n_heads: int = 1,
        patch_shape: tuple[int, int, int] = (128, 128, 128),
        width: float = 1.0,
        channels: list[int] | None = None,
        **changes: object,
    ) -> SegmentationModel:
        cfg = composed(f"model={model}", f"encoder={encoder}")
        OmegaConf.set_struct(cfg, False)
        stages = cfg.encoder
        stages.width = width
        if channels is not None:
            stages.channels = channels
        node = OmegaConf.merge(cfg.model, changes)
        factory = instantiate(node, _partial_=True, _convert_="all")
        return factory(
            in_channels=in_channels,
            out_channels=3,
            n_heads=n_heads,
            patch_shape=patch_shape,
            encoder=instantiate(stages, _convert_="all"),
        )

    return build_model
