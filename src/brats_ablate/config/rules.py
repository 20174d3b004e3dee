"""Combinations that cannot work, each a small function: composed configuration in, one sentence out (None: fine).

They read plain values only. What a rule needs to know of a component it says itself, next to the reason.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Tree = dict[str, Any]
Rule = Callable[[Tree], str | None]

_LAYOUTS = ("brats2021", "brats2018", "brats2023", "msd")
_CONVENTIONS = ("brats2021", "brats2023", "msd")


def _is(node: Any, name: str) -> bool:
    return isinstance(node, dict) and str(node.get("_target_", "")).rsplit(".", maxsplit=1)[-1] == name


def coordinates(cfg: Tree) -> str | None:
    """fold, lr and seed must name a run."""
    folds = cfg["data"]["n_folds"]
    if not isinstance(cfg["fold"], int) or isinstance(cfg["fold"], bool) or not 0 <= cfg["fold"] < folds:
        return f"fold={cfg['fold']} does not exist; choose 0 to {folds - 1} (data.n_folds={folds})"
    if not isinstance(cfg["lr"], int | float) or isinstance(cfg["lr"], bool) or cfg["lr"] <= 0:
        return f"lr={cfg['lr']} must be a positive number; the paper's are 5e-4, 7e-4, 9e-4"
    if not isinstance(cfg["seed"], int) or isinstance(cfg["seed"], bool):
        return f"seed={cfg['seed']} must be an integer"
    name = str(cfg["name"])
    if not name or "/" in name or name != name.strip():
        return f"name={name!r} must be a plain folder name"
    return None


def data_set(cfg: Tree) -> str | None:
    """Layout and label convention are declared, never guessed."""
    data = cfg["data"]
    if data["layout"] not in _LAYOUTS:
        return f"data.layout={data['layout']} is unknown; choose one of {', '.join(_LAYOUTS)}"
    if data["convention"] not in _CONVENTIONS:
        return f"data.convention={data['convention']} is unknown; choose one of {', '.join(_CONVENTIONS)}"
    if not isinstance(data["n_folds"], int) or data["n_folds"] < 2:
        return f"data.n_folds={data['n_folds']} must be an integer of at least 2"
    return None


def patch_and_encoder(cfg: Tree) -> str | None:
    """A U-Net of depth d halves d - 1 times, and instance norm needs more than one voxel at the bottom."""
    if not _is(cfg["model"], "UNet"):
        return None
    patch = cfg["patches"]["shape"]
    depth = len(cfg["encoder"]["channels"])
    divisor = 2 ** (depth - 1)
    if any(s % divisor for s in patch):
        return f"patches.shape={patch} is not divisible by {divisor}, as {depth} levels need; change patches.shape or encoder"
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


def supervision_and_model(cfg: Tree) -> str | None:
    """Deep supervision needs heads on lower decoder levels, which only our U-Net has."""
    if not _is(cfg["supervision"], "NoSupervision") and not _is(cfg["model"], "UNet"):
        return f"{cfg['model']['_target_'].rsplit('.', 1)[-1]} has no lower heads to supervise; set supervision=none"
    return None


def auxiliary_and_model(cfg: Tree) -> str | None:
    """The VAE terms and the VAE branch need each other."""
    has_branch, has_terms = _is(cfg["model"], "SegResNetVAE"), _is(cfg["auxiliary"], "VaeTerms")
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


RULES: tuple[Rule, ...] = (
    coordinates,
    data_set,
    patch_and_encoder,
    patch_and_unetr,
    patch_and_segresnet,
    supervision_and_model,
    auxiliary_and_model,
    whole_volume_and_model,
)
