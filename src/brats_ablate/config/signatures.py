"""Constructor signatures of `_target_`s, read from the source (see `source`), inherited constructors included."""

from __future__ import annotations

import ast
from dataclasses import dataclass, replace
from functools import cache

from brats_ablate.config.source import Definition, ancestors, find


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
        """Return the parameter called `name`."""
        return next((p for p in self.parameters if p.name == name), None)


@cache
def signature_of(target: str) -> Signature | None:
    """Return the signature of a dotted class or function name; None if it cannot be read from the source.

    Raises:
        LookupError: the module exists and has no such name.
    """
    definition = find(target)
    if definition is None:
        return None
    if isinstance(definition.node, ast.FunctionDef):
        return _of_arguments(definition.node.args)
    return _of_class(list(ancestors(definition)))


def _of_class(classes: list[Definition | None]) -> Signature | None:
    """Return the signature of the first of `classes`, the others being its bases."""
    for i, each in enumerate(classes):
        if each is None:
            return None
        node = each.node
        assert isinstance(node, ast.ClassDef)
        methods = {item.name: item for item in node.body if isinstance(item, ast.FunctionDef)}
        if "__init__" in methods:
            own = _of_arguments(methods["__init__"].args, bound=True)
            return _with_forwarded(own, classes[i + 1 :]) if own.open_ended else own
        if "__new__" in methods or node.keywords:
            return None
        decorators = [ast.unparse(d) for d in node.decorator_list]
        if any("dataclass" in d for d in decorators):
            parents = _of_class(classes[i + 1 :])
            return parents and _of_fields(node, parents)
        if decorators:
            return None
    return Signature((), open_ended=False)


def _with_forwarded(own: Signature, bases: list[Definition | None]) -> Signature:
    """Add the arguments of the base classes, to which `**kwargs` are usually passed on."""
    inherited = _of_class(bases)
    if not bases or inherited is None:
        return own
    further = [replace(p, required=False) for p in inherited.parameters if own.get(p.name) is None]
    return Signature((*own.parameters, *further), open_ended=True)


def _of_fields(node: ast.ClassDef, parents: Signature) -> Signature:
    """Return the signature of a dataclass: its parents' fields, then its own."""
    fields = {p.name: p for p in parents.parameters}
    for item in node.body:
        if not isinstance(item, ast.AnnAssign) or not isinstance(item.target, ast.Name):
            continue
        annotation, required = ast.unparse(item.annotation), item.value is None
        options: dict[str | None, ast.expr] = {}
        if isinstance(item.value, ast.Call) and ast.unparse(item.value.func).endswith("field"):
            options = {k.arg: k.value for k in item.value.keywords}
            required = not options.keys() & {"default", "default_factory"}
        is_argument = "init" not in options or ast.unparse(options["init"]) != "False"
        if is_argument and not annotation.endswith("KW_ONLY") and "ClassVar" not in annotation:
            fields[item.target.id] = Parameter(item.target.id, annotation, required)
    return Signature(tuple(fields.values()), open_ended=False)


def _of_arguments(arguments: ast.arguments, *, bound: bool = False) -> Signature:
    positional = arguments.posonlyargs + arguments.args
    first_default = len(positional) - len(arguments.defaults)
    required = [(a, i < first_default) for i, a in enumerate(positional)][bound:]
    required += [(a, d is None) for a, d in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)]
    parameters = [Parameter(a.arg, ast.unparse(a.annotation) if a.annotation else "", r) for a, r in required]
    return Signature(tuple(parameters), open_ended=arguments.kwarg is not None)
