"""Checks of a whole composed configuration, before anything is loaded, trained or submitted.

The keys of every `_target_` are compared with its constructor's arguments, read from the source (no import of torch),
and the combinations with `constraints`. The first fault is raised as one sentence with its remedy.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from brats_ablate.config.command import options_of_data, shell_command
from brats_ablate.config.constraints import CONSTRAINTS
from brats_ablate.config.design import Design
from brats_ablate.config.messages import MOVED_KEYS, OWN_OPTION, is_left_over, meant_key
from brats_ablate.config.signatures import signature_of
from brats_ablate.config.source import require_module
from brats_ablate.errors import ConfigError
from brats_ablate.runs.directory import TRAIN_JOB
from brats_ablate.runs.identity import TRAINING_GROUPS
from brats_ablate.runs.renamed import RENAMED
from brats_ablate.runtime.text import first_line, suggest

GROUPS = ("labels", "data", *TRAINING_GROUPS, "inference", "postprocess", "metrics", "tracker", "job", "paths")
COORDINATES = ("name", "about", "fold", "lr", "seed")
_OPTIONAL = ("trust", "design", "init", "objective")
"""Keys that configurations of earlier versions lack."""

_KEYS_OF_PLAIN_GROUPS = {
    "data": (
        *("name", "layout", "raw", "list", "n_folds", "fold_seed", "fraction", "phantom"),
        *("background", "trust_affine_of", "spacing", "patient"),
    ),
    "inference": ("window", "tta", "average", "labels"),
    "paths": ("work", "prepared", "runs", "imported", "debug", "predictions", "evaluation", "tables"),
}

_OF_A_MODEL = frozenset({"in_channels", "out_channels", "n_heads", "patch_shape", "encoder"})
INJECTED: Mapping[str, frozenset[str]] = {
    "model": _OF_A_MODEL,
    "model.network": _OF_A_MODEL,
    "loss": frozenset({"labels"}),
    "optimizer": frozenset({"lr"}),
    "inference.window": frozenset({"patch_shape", "size_divisor"}),
    "tracker": frozenset({"run"}),
    "job": frozenset({"cfg"}),
}
"""Arguments that a job derives and passes itself; a configuration must leave them out."""
_INJECTED_UNLESS_SET = ("model.network",)
"""Where a configuration may set them: the job checks that they fit."""
_INJECTED_FIRST = ("optimizer",)
"""Groups whose first argument a job passes by position, regardless of its name."""
_SCORING_JOBS = ("brats_ablate.jobs.evaluate.run", "brats_ablate.jobs.rank.run")
_SCORER_KEYS = ("metrics", "scorer")
"""Where these jobs had the group `metrics` in version 0.1."""
_HYDRA_KEYS = frozenset({"_target_", "_partial_", "_convert_", "_recursive_", "_args_"})
_PLAIN_TYPES = {"int": (int,), "float": (int, float), "bool": (bool,), "str": (str,)}


def check(cfg: DictConfig) -> None:
    """Raise ConfigError with one sentence if `cfg` is invalid; cheap, imports no torch."""
    tree = resolve(cfg)
    _known("", tree, (*GROUPS, *COORDINATES, *_OPTIONAL))
    for missing in [g for g in (*GROUPS, *COORDINATES) if g not in tree]:
        remedy = f"choose one with {missing}=<option>" if missing in GROUPS else "build yours on conf/config.yaml"
        raise ConfigError(f"{missing} is missing from the configuration; {remedy}")
    if "convention" in tree["data"]:
        raise ConfigError(
            "data.convention is the option labels now; choose labels=…, or write `override /labels@_global_.labels: …` "
            "in the defaults of your data option, as conf/data/brats23.yaml does"
        )
    if tree["job"].get("_target_") in _SCORING_JOBS and any(isinstance(tree["job"].get(k), dict) for k in _SCORER_KEYS):
        raise ConfigError(
            "the metrics of job=evaluate and job=rank are the group metrics now; move their keys to an option "
            "conf/metrics/<name>.yaml that builds on default, and choose it with metrics=<name>"
        )
    _known("init", tree.get("init", {}), ("checkpoint", "checksum"))
    for group, keys in _KEYS_OF_PLAIN_GROUPS.items():
        _known(group, tree[group], keys)
    _require_targets(tree)
    for group in GROUPS:
        _check_node(group, tree[group])
    Design.from_config(tree.get("design") or {})
    for constraint in CONSTRAINTS:
        sentence = constraint(tree)
        if sentence is not None:
            raise ConfigError(sentence)


def resolve(cfg: DictConfig) -> dict[str, Any]:
    """Return the configuration, without Hydra's own part, as plain containers with all interpolations resolved.

    Raises:
        ConfigError: a value is missing, or refers to one that is.
    """
    try:
        return {str(key): _plain(cfg[key]) for key in cfg if key != "hydra"}
    except OmegaConfBaseException as error:
        key = getattr(error, "full_key", None) or "configuration"
        raise ConfigError(f"{key} has no value ({first_line(error)}); set {key}=<value>") from error


def _plain(value: Any) -> Any:
    return OmegaConf.to_container(value, resolve=True, throw_on_missing=True) if OmegaConf.is_config(value) else value


def check_data(cfg: DictConfig) -> None:
    """Raise ConfigError with the command to run if `cfg` trains on data that is not prepared; imports no torch.

    Separate from `check`, as a valid configuration may refer to data that is not prepared yet. The integrity of the
    data is verified by `CaseStore` on opening.
    """
    if cfg.job._target_ != TRAIN_JOB or (Path(cfg.paths.prepared) / "cohort.json").is_file():
        return
    raw = " data.raw=<folder of the data set>" if cfg.data.raw is None and cfg.data.list is None else ""
    command = shell_command("job=prepare", *options_of_data(cfg)) + raw
    raise ConfigError(f"{cfg.paths.prepared} is not prepared; run `{command}` first")


def _require_targets(tree: Mapping[str, Any]) -> None:
    """Raise ConfigError if a part that is constructed does not name its class."""
    parts = {group: tree[group] for group in GROUPS if group not in _KEYS_OF_PLAIN_GROUPS}
    parts |= {f"inference.{key}": tree["inference"].get(key) for key in ("window", "tta", "labels")}
    for path in ("augment.transforms", "metrics.extra"):
        group, _, key = path.partition(".")
        several = parts[group].get(key) if isinstance(parts[group], dict) else None
        parts |= {f"{path}.{name}": node for name, node in several.items()} if isinstance(several, dict) else {}
    for path, node in parts.items():
        if node is None or (isinstance(node, dict) and "_target_" not in node):
            raise ConfigError(
                f"{path} names no class; write it as _target_, as the options in conf/{path.partition('.')[0]} do, or "
                "build on one of them by `defaults: [<option>, _self_]`"
            )


def _check_node(path: str, node: Any) -> None:
    if isinstance(node, float) and not math.isfinite(node):
        raise ConfigError(f"{path}={node} is not a finite number, as its record in JSON must be; set another value")
    if isinstance(node, list):
        for i, item in enumerate(node):
            _check_node(f"{path}[{i}]", item)
    if isinstance(node, dict):
        if "_target_" in node:
            _check_target(path, node)
        for key, value in node.items():
            _check_node(f"{path}.{key}", value)


def _check_target(path: str, node: Mapping[str, Any]) -> None:
    target = str(node["_target_"])
    try:
        signature = signature_of(target)
        if signature is None and INJECTED.get(path) is not _OF_A_MODEL:  # a network's import names what to install
            require_module(target)
    except LookupError as error:
        reason = str(error.args[0])
        reason += "" if ";" in reason else "; correct the name"
        if target in RENAMED:
            reason = f"{target} is now called {RENAMED[target]}; use the new name"
        raise ConfigError(f"{path}._target_: {reason}") from None
    if signature is None:
        return
    injected = INJECTED.get(path, frozenset())
    if path in _INJECTED_FIRST:
        injected |= {p.name for p in signature.parameters[:1]}
    for key, value in node.items():
        if key in _HYDRA_KEYS:
            continue
        if key in injected and path not in _INJECTED_UNLESS_SET:
            raise ConfigError(f"{path}.{key} is set by the job; remove it from the configuration")
        parameter = signature.get(key)
        if parameter is None:
            if signature.open_ended:
                continue
            if (now := MOVED_KEYS.get(f"{path}.{key}")) is not None:
                raise ConfigError(f"{path}.{key} is {now} now; set that in its place, outside of {path.split('.')[0]}")
            if is_left_over(path, key, target):
                group = path.partition(".")[0]
                raise ConfigError(
                    f"{path}.{key} is not an argument of {target}, but left from the chosen option of {group}, into "
                    f"which it is merged; {OWN_OPTION.format(group)}"
                )
            hint = _hint(key, [p.name for p in signature.parameters if p.name not in injected], f"{path}.")
            raise ConfigError(f"{path}.{key} is not an argument of {target}{hint}")
        annotation = None if isinstance(value, dict) else parameter.annotation
        if annotation and not _fits(ast.parse(annotation, mode="eval").body, value):
            choices = annotation.removeprefix("Literal[").removesuffix("]").replace("'", "")
            wanted = f"one of {choices}" if annotation.startswith("Literal[") else f"of type {annotation}"
            remedy = f"; write [{value}]" if "[str]" in annotation and isinstance(value, str) else ""
            raise ConfigError(f"{path}.{key}={value!r} must be {wanted}{remedy}")
    if not node.get("_partial_") or path in _INJECTED_UNLESS_SET:
        for parameter in signature.parameters:
            if parameter.required and parameter.name not in node and parameter.name not in injected:
                raise ConfigError(f"{path}.{parameter.name} is missing; {target} needs it")


def _fits(annotation: ast.expr, value: Any) -> bool:
    """Return whether `value` fits an annotation made of builtin types; others are left to the constructor."""
    if isinstance(annotation, ast.Constant):
        return value is None if annotation.value is None else True
    if isinstance(annotation, ast.Name) and annotation.id in _PLAIN_TYPES:
        if isinstance(value, bool) and annotation.id != "bool":
            return False
        return isinstance(value, _PLAIN_TYPES[annotation.id])
    if isinstance(annotation, ast.BinOp) and isinstance(annotation.op, ast.BitOr):
        return _fits(annotation.left, value) or _fits(annotation.right, value)
    if isinstance(annotation, ast.Subscript):
        return _fits_generic(ast.unparse(annotation.value), annotation.slice, value)
    return True


def _fits_generic(kind: str, inner: ast.expr, value: Any) -> bool:
    kind = kind.rsplit(".", maxsplit=1)[-1]
    items = inner.elts if isinstance(inner, ast.Tuple) else [inner]
    if kind == "Literal":
        return value in [ast.literal_eval(item) for item in items]
    if kind not in ("list", "tuple", "Sequence"):
        return True
    if not isinstance(value, list):
        return False
    if kind == "tuple" and not (len(items) == 2 and isinstance(items[1], ast.Constant) and items[1].value is ...):
        return len(items) == len(value) and all(_fits(a, v) for a, v in zip(items, value, strict=True))
    return all(_fits(items[0], v) for v in value)


def _known(path: str, node: Any, known: Collection[str]) -> None:
    if not isinstance(node, dict):
        raise ConfigError(f"{path or 'configuration'}={node!r} must be a group of keys; see conf/{path}")
    for key in node:
        if key not in known:
            prefix = f"{path}." if path else ""
            if not path and (meant := meant_key(str(key))) is not None:
                raise ConfigError(f"{key} is not a known key; use {meant}=…")
            raise ConfigError(f"{prefix}{key} is not a known key{_hint(str(key), known, prefix)}")


def _hint(key: str, known: Collection[str], prefix: str = "") -> str:
    return f"; {suggest(key, known, prefix=prefix)}" if known else "; it takes none, remove it"
