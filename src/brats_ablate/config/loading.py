"""Import and call of the classes that a configuration names, with one sentence for each reason why it fails."""

from __future__ import annotations

import re
from importlib import import_module
from types import ModuleType

from brats_ablate.config.source import PACKAGE
from brats_ablate.errors import ConfigError, ConstructionFailed
from brats_ablate.runtime.text import failure, first_line

_EXTRAS = {"dynamic_network_architectures": "'brats-ablate[nnunet]'"}
"""Package of networks -> what to install where it is not the package itself."""


class _Missing(Exception):
    """A module has no such name."""


def require_loadable(key: str, target: str) -> None:
    """Require that the class or function that `key` names can be imported.

    Raises:
        ConfigError: it cannot; says whether the name, the environment or the module is at fault.
    """
    try:
        found = _load(target)
    except Exception as error:
        raise ConfigError(f"{key} names {target}, {_reason(target, error)}") from error
    if not callable(found):
        raise ConfigError(f"{key} names {target}, which is no class or function; correct the name")


def call_error(key: str, target: str, error: Exception) -> ConstructionFailed | None:
    """Return the sentence about an `error` in the call of `target`, which `key` names, or of one that Hydra names.

    None if the class or function is this program's, whose errors of other types than ValueError are bugs.
    """
    if nested := re.search(r"call to target '([^']+)'.*^full_key: (\S+)", str(error), re.S | re.M):
        target, key = nested.groups()
    cause = error.__cause__ if nested and isinstance(error.__cause__, Exception) else error
    if target.startswith(f"{PACKAGE}."):
        return None
    sentence = ConstructionFailed(f"{key}: {target} cannot be constructed ({failure(cause)}); correct its arguments")
    sentence.__cause__ = cause
    return sentence


def _load(target: str) -> object:
    """Import the object of a dotted name. Unlike `pkgutil.resolve_name`, raise why a module cannot be imported."""
    name, *rest = target.split(".")
    found: object = import_module(name)
    for part in rest:
        outer, name = name, f"{name}.{part}"
        try:
            found = getattr(found, part) if hasattr(found, part) else import_module(name)
        except ModuleNotFoundError as error:
            if error.name == name or not isinstance(found, ModuleType):
                raise _Missing(f"{outer} has no {part}") from error
            raise
    return found


def _reason(target: str, error: Exception) -> str:
    package = target.partition(".")[0]
    missing = error.name if isinstance(error, ModuleNotFoundError) else None
    if missing == package:
        install = _EXTRAS.get(package, package)
        return f"and there is no package {package}; run `pip install {install}`, or correct the name"
    if isinstance(error, _Missing):
        return f"which does not exist ({error}); correct the name"
    if isinstance(error, SyntaxError):
        return f"which cannot be loaded ({error.filename}, line {error.lineno}: {error.msg}); correct that file"
    remedy = f"install the package of {missing}, or correct the import" if missing else "correct its module"
    return f"which cannot be loaded ({type(error).__name__}: {first_line(error)}); {remedy}"
