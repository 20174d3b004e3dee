"""What a configuration that comes as data may name. Run directories and tuned settings are exchanged: they run nothing.

A person's own command line and `-cd` folder are their code. The `config.yaml` of a run directory and the file of
`job=tune` are data. Their `_target_`s are built only if they are classes of this package, torch modules, networks of
MONAI or nnU-Net, or classes that the current command names itself: by its own configuration, or by
`trust=[mine.MyUNet]`.
"""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from brats_ablate.config.source import PACKAGE, find
from brats_ablate.errors import ConfigError

_LAYERS = ("models", "losses", "transforms", "inference", "labels", "training")
"""Packages of this one whose classes only compute."""
_LIBRARIES = ("torch.nn.", "monai.networks.", "dynamic_network_architectures.architectures.")
_PACKAGES = tuple(f"{name.partition('.')[0]}." for name in _LIBRARIES)
_GET_CLASS = "hydra.utils.get_class"
"""Returns the class that it names by `path`, which counts in its place."""


def require_trusted(tree: Any, file: Path, declared: Collection[str]) -> None:
    """Refuse plain containers read from `file` that would run code, before anything in them is built.

    Args:
        tree: of plain containers.
        file: named in the message.
        declared: further `_target_`s that the current command names itself: see `named_targets`.

    Raises:
        ConfigError: a `_target_` is not trusted.
    """
    for key, value in targets(tree):
        if not _is_trusted(value, declared):
            raise ConfigError(
                f"{file}: {key} names {value}, which is not a class of this program, torch, MONAI or nnU-Net; such a "
                f"file is data and runs nothing. If you know and trust it, add trust=[{value}]"
            )


def require_plain(tree: Any, file: Path) -> None:
    """Refuse plain containers read from `file` in which a value would be interpolated: from the environment, say."""
    for key, value in _leaves(tree):
        if isinstance(value, str) and "${" in value:
            raise ConfigError(f"{file}: {key}={value} refers to another value, which data may not; write the value")


def named_targets(tree: Any) -> set[str]:
    """Return every `_target_` of a configuration, and what its `trust` lists."""
    listed = tree.get("trust") if isinstance(tree, Mapping) else None
    return {str(value) for _, value in targets(tree)} | set(listed or ())


def targets(node: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the key and value of every `_target_`, or of the `path` of a class that is only named."""
    if isinstance(node, Mapping) and node.get("_target_") == _GET_CLASS and node.keys() == {"_target_", "path"}:
        yield f"{prefix}.path", node["path"]
        return
    items = node.items() if isinstance(node, Mapping) else enumerate(node) if isinstance(node, list) else ()
    for key, value in items:
        inner = f"{prefix}.{key}" if prefix else str(key)
        if isinstance(value, Mapping | list):
            yield from targets(value, inner)
        elif inner.rpartition(".")[2] == "_target_":
            yield inner, value


def is_own_class(target: str) -> bool:
    """Return whether `target` is a class of this package that only computes; nothing is imported."""
    package, _, rest = target.partition(".")
    if package != PACKAGE or rest.partition(".")[0] not in _LAYERS:
        return False
    try:
        definition = find(target)
    except LookupError:
        return False
    is_class = definition is not None and isinstance(definition.node, ast.ClassDef)
    return is_class and definition is not None and f"{definition.module}.{definition.node.name}" == target


def _is_trusted(target: object, declared: Collection[str]) -> bool:
    if not isinstance(target, str) or target == _GET_CLASS:
        return False
    return target in declared or is_own_class(target) or _is_module(target)


def _is_module(target: str) -> bool:
    """Return whether `target` is a subclass of `torch.nn.Module` that comes with torch, MONAI or nnU-Net."""
    if not target.startswith(_LIBRARIES):
        return False
    module, _, name = target.rpartition(".")
    try:
        found = getattr(import_module(module), name, None)
    except ImportError:
        return False
    base = import_module("torch.nn").Module
    return isinstance(found, type) and issubclass(found, base) and found.__module__.startswith(_PACKAGES)


def _leaves(node: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(node, Mapping | list):
        items = node.items() if isinstance(node, Mapping) else enumerate(node)
        for key, value in items:
            yield from _leaves(value, f"{prefix}.{key}" if prefix else str(key))
    else:
        yield prefix, node
