"""Combinations that cannot work, each a small function: composed configuration in, one sentence out (None: fine).

They read plain values only. What a rule needs to know of a component it says itself, next to the reason; components
that load nothing heavy are constructed, so that their own constructors say what is wrong.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from importlib import import_module
from typing import Any

Tree = dict[str, Any]
Constraint = Callable[[Tree], str | None]

_LAYOUTS = ("brats2021", "brats2018", "brats2023", "msd")
_CONVENTIONS = ("brats2021", "brats2023", "msd")
_WITH_LOWER_HEADS = ("UNet", "UNetPlusPlus")


def _is(node: Any, name: str) -> bool:
    return isinstance(node, dict) and _class_name(node) == name


def _class_name(node: Tree) -> str:
    return str(node.get("_target_", "")).rsplit(".", maxsplit=1)[-1]


def coordinates(cfg: Tree) -> str | None:
    """fold, lr and seed must name a run."""
    folds = cfg["data"]["n_folds"]
    if not isinstance(cfg["fold"], int) or isinstance(cfg["fold"], bool) or not 0 <= cfg["fold"] < folds:
        return f"fold={cfg['fold']} does not exist; choose 0 to {folds - 1} (data.n_folds={folds})"
    if not isinstance(cfg["lr"], int | float) or isinstance(cfg["lr"], bool) or not 0 < cfg["lr"] < math.inf:
        return f"lr={cfg['lr']} must be a positive number; the paper's are 5e-4, 7e-4, 9e-4"
    if not isinstance(cfg["seed"], int) or isinstance(cfg["seed"], bool):
        return f"seed={cfg['seed']} must be an integer"
    name = str(cfg["name"])
    if not name or "/" in name or name.startswith(".") or name != name.strip():
        return f"name={name!r} must be a plain folder name; letters, digits, - and _ always are"
    return None


def data_set(cfg: Tree) -> str | None:
    """Layout and label convention are declared, never guessed."""
    data = cfg["data"]
    if data["layout"] not in _LAYOUTS:
        return f"data.layout={data['layout']} is unknown; choose one of {', '.join(_LAYOUTS)}"
    if data["convention"] not in _CONVENTIONS:
        return f"data.convention={data['convention']} is unknown; choose one of {', '.join(_CONVENTIONS)}"
    if not isinstance(data["n_folds"], int) or isinstance(data["n_folds"], bool) or data["n_folds"] < 2:
        return f"data.n_folds={data['n_folds']} must be an integer of at least 2"
    return None


def light_components(cfg: Tree) -> str | None:
    """Trainer, schedule and patches import no torch: their constructors check their own values (ConfigError)."""
    for group in ("trainer", "schedule", "patches"):
        node = cfg[group]
        module, _, name = node["_target_"].rpartition(".")
        getattr(import_module(module), name)(**{k: v for k, v in node.items() if not k.startswith("_")})
    return None


def encoder(cfg: Tree) -> str | None:
    """Levels, finest first, and a factor on their channels."""
    channels, width = cfg["encoder"]["channels"], cfg["encoder"]["width"]
    if len(channels) < 2 or min(channels) < 1:
        return f"encoder.channels={channels} must be two or more positive numbers, finest level first"
    if not 0 < width < math.inf:
        return f"encoder.width={width} must be positive; 1.0 is the paper's"
    return None


def patch_and_encoder(cfg: Tree) -> str | None:
    """A U-Net of depth d halves d - 1 times, and instance norm needs more than one voxel at the bottom."""
    if _class_name(cfg["model"]) not in _WITH_LOWER_HEADS:
        return None
    patch, depth = cfg["patches"]["shape"], len(cfg["encoder"]["channels"])
    divisor = 2 ** (depth - 1)
    if any(s % divisor for s in patch):
        remedy = "change patches.shape or encoder"
        return f"patches.shape={patch} is not divisible by {divisor}, as {depth} levels need; {remedy}"
    if all(s == divisor for s in patch):
        return f"patches.shape={patch} leaves one voxel after {depth} levels; take a larger patch or fewer levels"
    return None


def patch_and_unetr(cfg: Tree) -> str | None:
    """UNETR cuts the patch into tokens of 16³."""
    patch = cfg["patches"]["shape"]
    if _is(cfg["model"], "UNETR") and any(s % 16 for s in patch):
        return f"patches.shape={patch} is not divisible by 16, as UNETR's tokens need; change patches.shape"
    return None


def patch_and_segresnet(cfg: Tree) -> str | None:
    """SegResNetVAE halves three times, its VAE branch a fourth time."""
    patch = cfg["patches"]["shape"]
    if _is(cfg["model"], "SegResNetVAE") and any(s % 16 for s in patch):
        return f"patches.shape={patch} is not divisible by 16, as SegResNetVAE needs; change patches.shape"
    return None


def patch_and_swin_unetr(cfg: Tree) -> str | None:
    """SwinUNETR halves five times, and instance norm needs more than one voxel at the bottom."""
    patch = cfg["patches"]["shape"]
    if not _is(cfg["model"], "SwinUNETR"):
        return None
    if any(s % 32 for s in patch):
        return f"patches.shape={patch} is not divisible by 32, as SwinUNETR needs; change patches.shape"
    if all(s == 32 for s in patch):
        return f"patches.shape={patch} leaves SwinUNETR one voxel; make one axis at least 64"
    return None


def patch_and_mednext(cfg: Tree) -> str | None:
    """MedNeXt halves once for each entry of `blocks` but the first."""
    if not _is(cfg["model"], "MedNeXt"):
        return None
    patch, blocks, ratios = cfg["patches"]["shape"], cfg["model"]["blocks"], cfg["model"]["expansion_ratios"]
    if len(blocks) != len(ratios):
        return f"model.blocks={blocks} and model.expansion_ratios={ratios} must have one entry per level each"
    divisor = 2 ** (len(blocks) - 1)
    if any(s % divisor for s in patch):
        needed = f"as MedNeXt's {len(blocks)} levels need"
        return f"patches.shape={patch} is not divisible by {divisor}, {needed}; change patches.shape or model.blocks"
    return None


def supervision_and_model(cfg: Tree) -> str | None:
    """Deep supervision needs heads on lower decoder levels: our U-Nets have one for every level but the bottom."""
    if _is(cfg["supervision"], "SingleHead"):
        return None
    if _class_name(cfg["model"]) not in _WITH_LOWER_HEADS:
        return f"{_class_name(cfg['model'])} has no lower heads to supervise; set supervision=none"
    weights, depth = cfg["supervision"].get("weights"), len(cfg["encoder"]["channels"])
    if weights is None:
        return None
    if not weights or min(weights) <= 0:
        return f"supervision.weights={weights} must be positive, one per head, finest first"
    if len(weights) > depth - 1:
        return (
            f"supervision.weights={weights} asks for {len(weights)} heads, but {depth} levels have {depth - 1}; "
            "shorten it, or add levels to encoder.channels"
        )
    return None


def auxiliary_and_model(cfg: Tree) -> str | None:
    """The VAE terms and the VAE branch need each other."""
    has_branch, has_terms = _is(cfg["model"], "SegResNetVAE"), _is(cfg["auxiliary"], "VAELoss")
    if has_branch and not has_terms:
        return "SegResNetVAE's VAE branch would be trained by nothing; set auxiliary=vae"
    if has_terms and not has_branch:
        return "auxiliary=vae needs a model with a VAE branch; set model=segresnet_vae or auxiliary=none"
    return None


def whole_volume_and_model(cfg: Tree) -> str | None:
    """UNETR's positional embedding fixes the input's shape."""
    if _is(cfg["inference"].get("window"), "WholeVolume") and _is(cfg["model"], "UNETR"):
        return "UNETR takes patches of one shape only; set inference=sliding_window"
    return None


RULES: tuple[Constraint, ...] = (
    coordinates,
    data_set,
    light_components,
    encoder,
    patch_and_encoder,
    patch_and_unetr,
    patch_and_segresnet,
    patch_and_swin_unetr,
    patch_and_mednext,
    supervision_and_model,
    auxiliary_and_model,
    whole_volume_and_model,
)
