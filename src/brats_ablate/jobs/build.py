"""Builds the objects that a configuration names. Below this module nobody sees `cfg`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from brats_ablate.config.signatures import signature_of
from brats_ablate.errors import ConfigError, UserError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from brats_ablate.cases import CaseMetadata
    from brats_ablate.data.store import CaseStore
    from brats_ablate.losses.total_loss import TotalLoss
    from brats_ablate.models.base import SegmentationModel
    from brats_ablate.training.precision import Precision


def instantiate(node: DictConfig, **supplied: Any) -> Any:
    """Hydra's `instantiate` with plain Python containers; `supplied` are the arguments that the job derives.

    Raises:
        ConfigError: a constructor refused its arguments; its own sentence, with the group's key in front.
    """
    from hydra.errors import InstantiationException
    from hydra.utils import instantiate as build

    try:
        factory = build(node, _convert_="all", _partial_=True)
        return factory(**supplied)  # not through Hydra, which would turn a supplied dataclass into a dict
    except (InstantiationException, ConfigError, ValueError) as error:
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, UserError | ValueError):
            cause = cause.__cause__
        if isinstance(cause, UserError):
            raise cause from None
        if isinstance(cause, ValueError):
            raise ConfigError(f"{node._get_full_key(None)}: {cause}") from None
        raise


def open_store(cfg: DictConfig) -> CaseStore:
    """The prepared cases of `cfg.data`.

    Raises:
        DataError: they are not prepared, or not whole; names the command that prepares them.
    """
    from brats_ablate.data.store import CaseStore

    return CaseStore(Path(cfg.paths.prepared))


def build_model(cfg: DictConfig) -> SegmentationModel:
    """The network, in fp32 on the CPU, its weights drawn from `seed`."""
    import torch

    from brats_ablate.labels import REGIONS
    from brats_ablate.runtime.random import derive_seed

    torch.manual_seed(derive_seed(int(cfg.seed), "weights"))
    return instantiate(
        _model_node(cfg),
        in_channels=instantiate(cfg.inputs).channels,
        out_channels=len(REGIONS),
        heads=instantiate(cfg.supervision).heads,
        patch_shape=tuple(cfg.patches.shape),
        encoder=instantiate(cfg.encoder),
    )


def _model_node(cfg: DictConfig) -> DictConfig:
    """Return `cfg.model`, within an adapter if its class is not a `SegmentationModel`."""
    from hydra.utils import get_object

    from brats_ablate.models.base import SegmentationModel

    target = get_object(cfg.model._target_)
    if isinstance(target, type) and issubclass(target, SegmentationModel):
        own: DictConfig = cfg.model
        return own
    network: Any = OmegaConf.to_container(cfg.model, resolve=True)
    adapter = "brats_ablate.models.external.ExternalModel"
    node = {"_target_": adapter, "network": network | {"_partial_": True}}
    adapted: DictConfig = OmegaConf.create({"model": node}).model
    return adapted


def build_loss(cfg: DictConfig) -> TotalLoss:
    """Region loss, supervision and auxiliary terms."""
    import torch

    from brats_ablate.losses.external import ModuleLoss
    from brats_ablate.losses.total_loss import TotalLoss

    region_loss = instantiate(cfg.loss)
    if isinstance(region_loss, torch.nn.Module):
        region_loss = ModuleLoss(region_loss)
    return TotalLoss(region_loss, instantiate(cfg.supervision), instantiate(cfg.auxiliary))


def build_window(cfg: DictConfig, model: SegmentationModel) -> Callable[..., Tensor]:
    """How a network of patches sees a whole volume: windows of the training patch, or one padded forward."""
    derived = {"divisor": model.size_divisor, "patch_shape": tuple(cfg.patches.shape)}
    signature = signature_of(str(cfg.inference.window["_target_"]))
    wanted = {name: value for name, value in derived.items() if signature is not None and signature.get(name)}
    return instantiate(cfg.inference.window, **wanted)


def build_tta(cfg: DictConfig) -> Callable[..., Tensor]:
    """Test-time augmentation."""
    return instantiate(cfg.inference.tta)


def probabilities_network(model: torch.nn.Module, precision: Precision) -> Callable[[Tensor], Tensor]:
    """`model` as inference wants it: (B, C, X, Y, Z) -> region probabilities (B, 3, X, Y, Z) float32, finest head."""
    import torch

    def network(volume: Tensor) -> Tensor:
        with precision.autocast():
            logits = model(volume.contiguous(memory_format=torch.channels_last_3d)).logits[0]
        return logits.float().sigmoid_()

    return network


def volume_loader(
    cfg: DictConfig, store: CaseStore, device: torch.device
) -> Callable[[str], tuple[Tensor, CaseMetadata]]:
    """Case id -> network input (1, C, X, Y, Z) of the whole cropped volume on `device`, and the case's record."""
    import torch

    from brats_ablate.transforms.normalize import non_zero_in_any, normalize

    inputs = instantiate(cfg.inputs)

    def load(case_id: str) -> tuple[Tensor, CaseMetadata]:
        record = store.record(case_id)
        raw = torch.from_numpy(store.read_images(case_id))[None].to(device)
        mean, std = (torch.tensor([values], device=device) for values in (record.mean, record.std))
        images = normalize(raw, mean, std)
        return inputs.assemble(images, inputs.foreground(non_zero_in_any(raw), images)), record

    return load
