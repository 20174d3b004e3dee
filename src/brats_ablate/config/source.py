"""Definitions of classes and functions, read from their source without importing them.

Checking a configuration must not wait for torch. The modules of its `_target_`s are parsed instead: names are followed
through imports, aliases and base classes of any module on the search path. What cannot be read this way is None, never
an error: the constructor then checks its own arguments.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import find_spec
from pathlib import Path
from typing import Any

PACKAGE = "brats_ablate"
_ROOTS = frozenset({"object", "abc.ABC", "typing.Protocol", "typing.Generic", "torch.nn.Module", "torch.nn.Identity"})
"""Base classes that use no arguments and declare nothing."""
_DYNAMIC = frozenset({"globals", "vars", "setattr", "exec", "__getattr__"})


@dataclass(frozen=True)
class Definition:
    """A class or function of `module`, as parsed."""

    module: str
    node: ast.ClassDef | ast.FunctionDef


@cache
def find(target: str) -> Definition | None:
    """Return the definition of a dotted name, or None if it cannot be read (compiled, dynamic, not installed).

    Raises:
        LookupError: the module exists and has no such name, or it is a missing module of this package.
    """
    module, _, name = target.rpartition(".")
    tree = _parse(module)
    if tree is None:
        if module.split(".")[0] == PACKAGE:
            raise LookupError(f"there is no module {module}")
        return None
    for node in _statements(tree.body):
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name == name and not _is_overload(node):
            return Definition(module, node)
    origin = _origin(module, tree, name)
    if origin is not None:
        return find(origin) if origin != target else None
    for node in _statements(tree.body):
        if not isinstance(node, ast.ImportFrom) or node.names[0].name != "*":
            continue
        if definition := _find_or_none(f"{_imported_module(module, node)}.{name}"):
            return definition
    if not _may_define(tree, name):
        raise LookupError(f"{module} has no {name}")
    return None


def require_module(target: str) -> None:
    """Check that the module of a dotted name exists, as far as that shows without importing it.

    Raises:
        LookupError: there is no such module.
    """
    parts = target.split(".")
    if len(parts) < 2 or not all(parts):
        raise LookupError(f"{target} names no module; write <module>.<class>")
    try:
        exists = find_spec(parts[0]) is not None
    except ValueError:  # of __main__, which no later process could import
        exists = False
    if not exists:
        raise LookupError(f"there is no module {parts[0]}; correct the name, or install its package")
    for i in range(2, len(parts)):
        inner, outer = ".".join(parts[:i]), _spec_of(".".join(parts[: i - 1]))
        if outer is not None and _spec_of(inner) is None:
            if outer.origin is None:  # a folder without __init__.py
                raise LookupError(f"there is no module {inner}; correct the name")
            find(inner)  # a class with what it contains
            return


def ancestors(definition: Definition) -> Iterator[Definition | None]:
    """Yield a class and its base classes, each before its own bases; None for a base that cannot be read."""
    assert isinstance(definition.node, ast.ClassDef)
    yield definition
    tree = _parse(definition.module)
    for base in definition.node.bases:
        dotted = _dotted(base.value if isinstance(base, ast.Subscript) else base)
        target = dotted and tree and _resolve(definition.module, tree, dotted)
        if target in _ROOTS:
            continue
        parent = _find_or_none(target) if target else None
        yield from ancestors(parent) if parent and isinstance(parent.node, ast.ClassDef) else (None,)


@cache
def class_attribute(target: str, name: str, default: Any = None) -> Any:
    """Return the literal that a class or its bases assign to `name`.

    Returns:
        `default` if none of them assigns it; None if that cannot be read.

    Raises:
        LookupError: as `find`.
    """
    definition = find(target)
    if definition is None or not isinstance(definition.node, ast.ClassDef):
        return None
    for each in ancestors(definition):
        if each is None:
            return None
        for item in each.node.body:
            names = item.targets if isinstance(item, ast.Assign) else [getattr(item, "target", None)]
            value = getattr(item, "value", None)
            if value is not None and any(isinstance(n, ast.Name) and n.id == name for n in names):
                try:
                    return ast.literal_eval(value)
                except ValueError:
                    return None
            if isinstance(item, ast.FunctionDef) and item.name == name:  # a property
                return None
    return default


def _find_or_none(target: str) -> Definition | None:
    try:
        return find(target)
    except LookupError:
        return None


def _origin(module: str, tree: ast.Module, name: str) -> str | None:
    """Return the dotted name that `name` stands for in `module`; None if it is no import or alias."""
    for node in _statements(tree.body):
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                if (alias.asname or alias.name) == name:
                    return f"{_imported_module(module, node)}.{alias.name}"
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.asname == name:
                    return alias.name
                if alias.asname is None and alias.name.split(".")[0] == name:
                    return name
        elif isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == name for t in node.targets):
            dotted = _dotted(node.value)
            return _resolve(module, tree, dotted) if dotted and dotted != name else None
    return None


def _resolve(module: str, tree: ast.Module, dotted: str) -> str:
    """Return the full name of an expression such as `nn.Module` in `module`."""
    first, _, rest = dotted.partition(".")
    if any(isinstance(n, ast.ClassDef) and n.name == first for n in _statements(tree.body)):
        origin = f"{module}.{first}"
    else:
        origin = _origin(module, tree, first) or first
    return f"{origin}.{rest}" if rest else origin


def _imported_module(module: str, node: ast.ImportFrom) -> str:
    if not node.level:
        return node.module or ""
    source = _source_of(module)
    is_package = source is not None and source.name == "__init__.py"
    parts = module.split(".")
    return ".".join([*parts[: len(parts) - node.level + is_package], *([node.module] if node.module else [])])


def _statements(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Yield the statements of a module, those within `if` and `try` included."""
    for node in body:
        yield node
        if isinstance(node, ast.If | ast.Try):
            yield from _statements(node.body + node.orelse)
        if isinstance(node, ast.Try):
            yield from _statements([s for handler in node.handlers for s in handler.body])


def _is_overload(node: ast.ClassDef | ast.FunctionDef) -> bool:
    return any((_dotted(d) or "").rpartition(".")[2] == "overload" for d in node.decorator_list)


def _may_define(tree: ast.Module, name: str) -> bool:
    """Return whether `tree` may bind `name` in a way that `find` does not follow."""
    return any(
        (isinstance(n, ast.Name) and n.id in {name, *_DYNAMIC})
        or (isinstance(n, ast.FunctionDef) and n.name in _DYNAMIC)
        or (isinstance(n, ast.ImportFrom) and n.names[0].name == "*")
        for n in ast.walk(tree)
    )


def _dotted(node: ast.expr) -> str | None:
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        value = _dotted(node.value)
        return value and f"{value}.{node.attr}"
    return None


def _source_of(module: str) -> Path | None:
    """Return the file of a module, found without importing its parents (which find_spec would do)."""
    spec = _spec_of(module)
    return Path(spec.origin) if spec and spec.origin and spec.origin.endswith(".py") else None


def _spec_of(module: str) -> ModuleSpec | None:
    path: list[str] | None = None
    spec = None
    parts = module.split(".")
    for i in range(len(parts)):
        spec = PathFinder.find_spec(".".join(parts[: i + 1]), path)
        if spec is None:
            return None
        path = list(spec.submodule_search_locations or [])
    return spec


@cache
def _parse(module: str) -> ast.Module | None:
    source = _source_of(module)
    try:
        return ast.parse(source.read_text(encoding="utf-8")) if source else None
    except (OSError, SyntaxError, UnicodeDecodeError):
        return None
