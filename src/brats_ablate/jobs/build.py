"""Builds the objects that a configuration names."""

from __future__ import annotations

from collections.abc import Sequence
from inspect import Parameter, signature
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from omegaconf import DictConfig, OmegaConf

from brats_ablate.config.data_options import known_layouts
from brats_ablate.config.loading import call_error, require_loadable
from brats_ablate.config.signatures import signature_of
from brats_ablate.config.trust import targets
from brats_ablate.errors import ConfigError, DataError, UserError
from brats_ablate.labels.scheme import LabelScheme

if TYPE_CHECKING:
    import torch

    from brats_ablate.data.layouts import Layout
    from brats_ablate.data.store import CaseStore
    from brats_ablate.losses.total_loss import TotalLoss
    from brats_ablate.models.base import SegmentationModel

ADAPTER = "brats_ablate.models.external.ExternalModel"


def instantiate(node: DictConfig, *args: Any, **supplied: Any) -> Any:
    """Call Hydra's `instantiate` with plain Python containers; `args` and `supplied` are derived by the job.

    Raises:
        ConfigError: a constructor rejected its arguments, with the group's key in front of its message; or a class
            cannot be imported, or is not of this program and fails in any way.
    """
    from hydra.utils import instantiate as build

    try:
        factory = build(node, _convert_="all", _partial_=True)
        return factory(*args, **supplied)  # not through Hydra, which would turn a supplied dataclass into a dict
    except Exception as error:
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, UserError | ValueError):
            cause = cause.__cause__
        # Private, but OmegaConf has no public way to ask a node for its path.
        key = node._get_full_key(None)
        if cause is None:
            if isinstance(error.__cause__, ImportError):  # of Hydra, for any error while it looks for a target
                for inner, target in targets(OmegaConf.to_container(node), key):
                    require_loadable(inner, str(target))
            if (sentence := call_error(key, str(node._target_), error)) is None:
                raise
            raise sentence from sentence.__cause__
        if isinstance(cause, ValueError):
            cause = ConfigError(f"{key}: {cause}")
        raise cause from None


def open_store(cfg: DictConfig, modalities: Sequence[str] | None = None) -> CaseStore:
    """Open the prepared cases of `cfg.data`, with all channels or with those of `modalities`.

    Raises:
        DataError: they are not prepared, or incomplete; names the command that prepares them. Or they have other voxels
            than `cfg.data.spacing` says.
    """
    from brats_ablate.data.store import CaseStore

    store = CaseStore(Path(cfg.paths.prepared), modalities)
    wanted, prepared = spacing_of(cfg), None if store.spacing is None else list(store.spacing)
    if wanted != prepared:
        raise DataError(
            f"data.spacing={shown_spacing(wanted)}, but {store.folder} was prepared with {shown_spacing(prepared)}; "
            f"set data.spacing={shown_spacing(prepared)}, or prepare again under another data.name"
        )
    return store


def spacing_of(cfg: DictConfig) -> list[float] | None:
    """Return `data.spacing` as it is recorded; None for the files' own voxels."""
    spacing = cfg.data.get("spacing")
    return None if spacing is None else [float(edge) for edge in spacing]


def shown_spacing(spacing: list[float] | None) -> str:
    """Return a spacing as the command line takes it."""
    return "null" if spacing is None else "[" + ",".join(f"{edge:g}" for edge in spacing) + "]"


def build_scheme(cfg: DictConfig) -> LabelScheme:
    """Build the label scheme of `cfg.labels`, or of a run that version 0.1 recorded."""
    if "labels" not in cfg:
        return LabelScheme.named_before(str(cfg.data.convention))
    scheme: LabelScheme = instantiate(cfg.labels)
    return scheme


def layout_of(cfg: DictConfig) -> Layout:
    """Return the file names of `cfg.data.layout`, which version 0.1 recorded by name.

    Raises:
        ConfigError: a pattern cannot work.
    """
    from brats_ablate.data.layouts import Layout

    if isinstance(cfg.data.layout, str):
        return known_layouts()[cfg.data.layout]
    plain: Any = OmegaConf.to_container(cfg.data.layout, resolve=True)
    try:
        return Layout(**plain)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"data.layout: {error}") from error


def open_training_store(cfg: DictConfig) -> CaseStore:
    """Open the prepared cases of `cfg.data` with the channels that the network gets.

    Raises:
        DataError: they are not prepared, incomplete, or have other modalities than `cfg` says.
    """
    chosen, expected = cfg.inputs.get("modalities"), input_modalities(cfg)
    store = open_store(cfg, chosen)
    if store.modalities != expected:
        raise DataError(
            f"{cfg.paths.prepared} was prepared with the modalities {', '.join(store.modalities)}, but "
            f"data.layout.modalities declares {', '.join(expected)}; choose the data option that prepared it, or "
            "prepare again"
        )
    return store


def input_modalities(cfg: DictConfig) -> tuple[str, ...]:
    """Return the names of the modalities that the network gets, in order."""
    from brats_ablate.data.store import FIRST_MODALITIES

    chosen, layout = cfg.inputs.get("modalities"), cfg.data.layout
    declared = FIRST_MODALITIES if isinstance(layout, str) else layout.modalities  # version 0.1 recorded a name
    return tuple(str(m) for m in (declared if chosen is None else chosen))


def input_channels(cfg: DictConfig) -> int:
    """Return the network's number of input channels."""
    return cast(int, instantiate(cfg.inputs).count(len(input_modalities(cfg))))


def build_model(cfg: DictConfig) -> SegmentationModel:
    """Build the network, in fp32 on the CPU, its weights drawn from `seed`."""
    import torch

    from brats_ablate.runtime.random import derive_seed

    torch.manual_seed(derive_seed(int(cfg.seed), "weights"))
    model: SegmentationModel = instantiate(_model_node(cfg), **derived_arguments(cfg))
    return model


def derived_arguments(cfg: DictConfig) -> dict[str, Any]:
    """Return the arguments of a network that other groups determine."""
    return {
        "in_channels": input_channels(cfg),
        "out_channels": len(build_scheme(cfg).regions),
        "n_heads": instantiate(cfg.supervision).n_heads,
        "patch_shape": tuple(cfg.patches.shape),
        "encoder": instantiate(cfg.encoder),
    }


def execute_on(model: SegmentationModel, device: torch.device) -> SegmentationModel:
    """Move `model` to `device`, channels last, and switch the CPU fusions on; both in place.

    On a GPU, cuDNN measures its algorithms for each new shape and chooses the fastest, unless they must be
    deterministic.
    """
    import torch

    from brats_ablate.models import kernels
    from brats_ablate.models.base import to_device

    kernels.enable(model)
    if device.type == "cpu":
        kernels.enable_pairing(model)
    if device.type == "cuda":
        kernels.enable_packing(model)
        torch.backends.cudnn.benchmark = not torch.are_deterministic_algorithms_enabled()
    return to_device(model, device)


def build_optimizer(cfg: DictConfig, model: torch.nn.Module) -> torch.optim.Optimizer:
    """Build the optimizer of the model's parameters; any torch class takes them as first argument.

    Raises:
        ConfigError: its steps compute the loss again, which the trainer does not.
    """
    optimizer: torch.optim.Optimizer = instantiate(cfg.optimizer, model.parameters(), lr=float(cfg.lr))
    closure = signature(optimizer.step).parameters.get("closure")
    if closure is not None and closure.default is Parameter.empty:
        name = type(optimizer).__name__
        raise ConfigError(f"optimizer: {name} evaluates the loss several times a step; choose another, e.g. adam")
    return optimizer


def _model_node(cfg: DictConfig) -> DictConfig:
    """Return `cfg.model`, within an adapter if its class is not a `SegmentationModel`."""
    from hydra.utils import get_object

    from brats_ablate.models.base import SegmentationModel

    target, node = get_object(cfg.model._target_), cfg.model
    if not (isinstance(target, type) and issubclass(target, SegmentationModel)):
        network: Any = OmegaConf.to_container(node, resolve=True)
        node = OmegaConf.create({"model": {"_target_": ADAPTER, "network": network | {"_partial_": True}}}).model
    return cast("DictConfig", node)


def build_loss(cfg: DictConfig) -> TotalLoss:
    """Build the total loss from region loss, supervision and auxiliary terms."""
    import torch

    from brats_ablate.losses.region_loss import ModuleLoss
    from brats_ablate.losses.total_loss import TotalLoss

    scheme = build_scheme(cfg)
    signature = signature_of(str(cfg.loss["_target_"]))
    takes_labels = signature is not None and signature.get("labels") is not None
    region_loss = instantiate(cfg.loss, **({"labels": scheme} if takes_labels else {}))
    if isinstance(region_loss, torch.nn.Module):
        region_loss = ModuleLoss(region_loss, scheme)
    if not callable(region_loss):
        raise ConfigError(f"loss: {type(region_loss).__name__} cannot be called; make it a torch.nn.Module")
    return TotalLoss(region_loss, instantiate(cfg.supervision), instantiate(cfg.auxiliary))
