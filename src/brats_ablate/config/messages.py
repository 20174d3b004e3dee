"""Tells Hydra's and OmegaConf's errors in one sentence with the remedy."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hydra.errors import HydraException, OverrideParseException
from omegaconf.errors import OmegaConfBaseException

_MOST_SHOWN = 40


def format_error(error: BaseException) -> str | None:
    """One sentence for a composition error; None if `error` is not about the configuration."""
    if not isinstance(error, HydraException | OmegaConfBaseException):
        cause = error.__cause__
        return format_error(cause) if cause is not None else None
    text = str(error)
    if isinstance(error, OverrideParseException):
        return _unreadable(error.override)
    for pattern, sentence in _SENTENCES:
        if found := re.search(pattern, text, re.S):
            return sentence(found)
    return " ".join(line.strip() for line in text.splitlines() if line.strip() and "HYDRA_FULL_ERROR" not in line)


def _unreadable(override: str) -> str:
    if "=" not in override:
        return f"{override} has no value; write {override}=<value>"
    example = "'patches.shape=[128,128,128]'"
    return f"{override} cannot be read; write key=value, a list in brackets and all of it in quotes, as {example}"


def _unknown_key(found: re.Match[str]) -> str:
    key, value = found.groups()
    if key == "experiment":
        return f"an experiment is added, not exchanged; write +experiment={value}"
    if "@" in key:
        return f"{key} is not in the defaults; to add it write +{key}={value}"
    if "/" in key:
        return f"{key} is not a known group{_hint(key, ['hydra/launcher', 'hydra/sweeper'])}"
    owners = _keys_and_owners()
    if key in owners:
        return f"{key} is a key of {' and '.join(owners[key])} only; choose it too"
    return f"{key} is not a known key{_hint(key, list(owners))}"


def _unknown_option(found: re.Match[str]) -> str:
    wanted, group, rest = found.groups()
    option = wanted.removeprefix(f"{group}/")
    options = re.findall(r"^\t(\S+)$", rest, re.M)
    if not option:
        return f"{group}= has no value; choose one of {', '.join(options)}"
    return f"{group}={option} is not an option{_hint(option, options)}"


def _several_values(found: re.Match[str]) -> str:
    return f"{found.group(1)} has several values; add -m to run each of them"


def _unknown_primary(found: re.Match[str]) -> str:
    name = found.group(1)
    if "provider=command-line" not in found.string:
        return f"-cn {name} names no configuration; give its folder too, as in -cd sweeps -cn table2"
    places = re.findall(r"path=file://(\S+)", found.string)
    names = sorted({file.stem for place in places for file in Path(place).glob("*.yaml")})
    return f"-cn {name} names no configuration{_hint(name, names)}"


_SENTENCES: tuple[tuple[str, Callable[[re.Match[str]], str]], ...] = (
    (r"Could not override '([^']+)'.* use \+[^=]+=(\S*)", _unknown_key),
    (r"Could not find '([^']+)'\s*\n\s*\nAvailable options in '([^']+)':\s*\n(.*)", _unknown_option),
    (
        r"Could not (?:find|load) '([^']+)'",
        lambda found: f"there is no configuration {found[1]!r}; check group and name (`--help` lists the groups)",
    ),
    (r"Cannot find primary config '([^']+)'", _unknown_primary),
    (
        r"Additional config directory '([^']+)' not found",
        lambda found: f"there is no folder {found[1]}; give -cd a folder that exists",
    ),
    (r"Ambiguous value for argument '([^']+)'", _several_values),
    (r"Sweep parameters '([^']+)' requires --multirun", _several_values),
    (
        r"Multiple values for (\S+)\. To override",
        lambda found: f"{found[1]} is given twice; give it once, or {found[1]}=a,b and -m to run each",
    ),
)


def _keys_and_owners() -> dict[str, list[str]]:
    """Every key of every option of conf/, dotted, and the options that have it."""
    from omegaconf import OmegaConf

    from brats_ablate.config.locations import resource_dir

    owners: dict[str, list[str]] = {}
    for file in sorted(resource_dir("conf").glob("*/*.yaml")):
        tree = OmegaConf.to_container(OmegaConf.load(file))
        if "@package" in file.read_text(encoding="utf-8") or not isinstance(tree, dict):
            continue
        for key in [file.parent.name, *_dotted(tree, f"{file.parent.name}.")]:
            owners.setdefault(key, []).append(f"{file.parent.name}={file.stem}")
    primary = OmegaConf.to_container(OmegaConf.load(resource_dir("conf") / "config.yaml"))
    assert isinstance(primary, dict)
    return owners | {key: ["config"] for key in _dotted(primary, "") if key != "defaults"}


def _dotted(node: dict[Any, Any], prefix: str) -> list[str]:
    keys: list[str] = []
    for key, value in node.items():
        keys.append(f"{prefix}{key}")
        if isinstance(value, dict):
            keys += _dotted(value, f"{prefix}{key}.")
    return keys


def _hint(wanted: str, known: list[str]) -> str:
    close = difflib.get_close_matches(wanted, known, n=1)
    if close:
        return f"; did you mean {close[0]}?"
    return f"; choose one of {', '.join(known)}" if 0 < len(known) <= _MOST_SHOWN else "; `--cfg job` shows every key"
