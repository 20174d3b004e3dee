"""Builds what predicts whole volumes: the window, the network below it, and the loader of volumes."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from omegaconf import DictConfig
from torch import Tensor

from brats_ablate.config.signatures import signature_of
from brats_ablate.errors import ConfigError
from brats_ablate.inference.average import AVERAGES, Average
from brats_ablate.inference.sliding_window import TakesBatches
from brats_ablate.jobs import build
from brats_ablate.models.nnunet import averaged_part
from brats_ablate.transforms.pipeline import case_input

if TYPE_CHECKING:
    from brats_ablate.cases import CaseMetadata
    from brats_ablate.data.store import CaseStore
    from brats_ablate.models.base import SegmentationModel, SegmentationOutput
    from brats_ablate.training.precision import Precision


def build_window(cfg: DictConfig, model: SegmentationModel) -> Callable[..., Tensor]:
    """Build the inferer of whole volumes: windows of the training patch, or one padded forward.

    Raises:
        ConfigError: it passes volumes to a model of one input shape.
    """
    derived = {"size_divisor": model.size_divisor, "patch_shape": tuple(cfg.patches.shape)}
    signature = signature_of(str(cfg.inference.window["_target_"]))
    accepted = {name: value for name, value in derived.items() if signature and signature.get(name)}
    window: Callable[..., Tensor] = build.instantiate(cfg.inference.window, **accepted)
    if model.fixed_shape and not getattr(window, "keeps_patch_shape", True):
        raise ConfigError("model: the network takes patches of one shape only; set inference=sliding_window")
    return window


def build_predictor(
    cfg: DictConfig,
    model: SegmentationModel,
    precision: Precision,
    *,
    compiled: bool,
    window: Callable[..., Tensor] | None = None,
) -> Callable[[Tensor], Tensor]:
    """Build (1, C, X, Y, Z) -> what `cfg.inference.average` averages, (1, K, X, Y, Z) float32, by the window.

    The window is that of `cfg.inference` by default. Windows of the training patch's shape can be compiled. Whole
    volumes differ in shape, so they are not, and cuDNN does not measure its algorithms for them.
    """
    window = window or build_window(cfg, model)
    average, one_shape = average_of(cfg.inference), getattr(window, "keeps_patch_shape", True)
    part, to_regions = averaged_part(model, str(cfg.inference.get("average")))
    network: Callable[[Tensor], SegmentationOutput] = part
    if compiled and one_shape:
        from brats_ablate.models.compilation import CompiledNetwork

        network = CompiledNetwork(part)

    def averaged(patch: Tensor) -> Tensor:
        with precision.autocast():
            logits = network(patch.contiguous(memory_format=torch.channels_last_3d)).logits[0]
        return average.of_logits(logits.float())

    def predict(volume: Tensor) -> Tensor:
        measured = torch.backends.cudnn.benchmark
        torch.backends.cudnn.benchmark = measured and one_shape
        try:
            return to_regions(window(TakesBatches(averaged), volume))
        finally:
            torch.backends.cudnn.benchmark = measured

    return predict


def average_of(inference: DictConfig) -> Average:
    """Return what `inference.average` names; probabilities where an option of one's own does not say."""
    return AVERAGES[str(inference.get("average", "probabilities"))]


def volume_loader(
    cfg: DictConfig, store: CaseStore, device: torch.device
) -> Callable[[str], tuple[Tensor, CaseMetadata]]:
    """Build case id -> network input (1, C, X, Y, Z) of the whole cropped volume on `device`, and the case's record."""
    channels = build.instantiate(cfg.inputs)

    def load(case_id: str) -> tuple[Tensor, CaseMetadata]:
        record = store.record(case_id)
        return case_input(store.read_images(case_id), record, channels, device), record

    return load
