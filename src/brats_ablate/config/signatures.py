"""Constructor signatures of `_target_`s, read from the source without importing it.

Checking a configuration must not wait for torch, so the targets' modules are parsed, not imported.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass
from functools import cache
from importlib.machinery import PathFinder
from pathlib import Path


@dataclass(frozen=True)
class Parameter:
    """One constructor argument: its annotation as written ("" if none), and whether it must be given."""

    name: str
    annotation: str
    required: bool


@dataclass(frozen=True)
class Signature:
    """What a `_target_` accepts; `open_ended` where it takes any further keyword (**kwargs)."""

    parameters: tuple[Parameter, ...]
    open_ended: bool

    def get(self, name: str) -> Parameter | None:
        return next((p for p in self.parameters if p.name == name), None)


@cache
def signature_of(target: str) -> Signature | None:
    """The signature of a dotted class or function name.

    Returns None if the target's source cannot be found or its signature cannot be read (a C extension, a re-export).

    Raises:
        LookupError: the module is found but holds no such name.
    """
    module, _, name = target.rpartition(".")
    source = _source_of(module)
    if source is None:
        if module.split(".")[0] == "brats_ablate":
            raise LookupError(f"there is no module {module}")
        return None
    tree = _parse(source)
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and node.name == name:
            return _of_arguments(node.args, skip_first=False)
        if isinstance(node, ast.ClassDef) and node.name == name:
            return _of_class(node, tree)
    if any(isinstance(n, ast.ImportFrom) for n in tree.body) and module.split(".")[0] != "brats_ablate":
        return None
    raise LookupError(f"{module} has no {name}")


def _of_class(node: ast.ClassDef, tree: ast.Module) -> Signature | None:
    for item in node.body:
        if isinstance(item, ast.FunctionDef) and item.name == "__init__":
            return _of_arguments(item.args, skip_first=True)
    inherited: tuple[Parameter, ...] = ()
    for base in node.bases:
        parent = next((n for n in tree.body if isinstance(n, ast.ClassDef) and n.name == ast.unparse(base)), None)
        if parent is not None and (found := _of_class(parent, tree)) is not None:
            inherited += found.parameters
    is_dataclass = any("dataclass" in ast.unparse(d) for d in node.decorator_list)
    if not is_dataclass:
        return Signature(inherited, open_ended=False)
    fields = tuple(
        Parameter(item.target.id, ast.unparse(item.annotation), item.value is None)
        for item in node.body
        if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name)
    )
    return Signature(inherited + fields, open_ended=False)


def _of_arguments(arguments: ast.arguments, *, skip_first: bool) -> Signature:
    positional = arguments.posonlyargs + arguments.args
    first_default = len(positional) - len(arguments.defaults)
    found = [
        Parameter(a.arg, ast.unparse(a.annotation) if a.annotation else "", i < first_default)
        for i, a in enumerate(positional)
    ]
    found += [
        Parameter(a.arg, ast.unparse(a.annotation) if a.annotation else "", default is None)
        for a, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
    ]
    return Signature(tuple(found[1:] if skip_first else found), open_ended=arguments.kwarg is not None)


def _source_of(module: str) -> Path | None:
    """The file of a module, found without importing its parents (which find_spec would do)."""
    path: list[str] | None = None
    spec = None
    parts = module.split(".")
    for i in range(len(parts)):
        spec = PathFinder.find_spec(".".join(parts[: i + 1]), path)
        if spec is None:
            return None
        path = list(spec.submodule_search_locations or [])
    return Path(spec.origin) if spec and spec.origin and spec.origin.endswith(".py") else None


@cache
def _parse(source: Path) -> ast.Module:
    return ast.parse(source.read_text(encoding="utf-8"))
