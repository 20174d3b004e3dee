"""Hydra's and OmegaConf's errors as one-sentence messages with the fix.

Most of these exceptions carry nothing but an English text, so its phrases are matched here and nowhere else. A text
that is not matched is shown on one line; `tests/config/test_messages.py` notices when a release rephrases one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from traceback import walk_tb
from typing import Any

import yaml
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException, OverrideParseException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from brats_ablate.config.command import chosen
from brats_ablate.config.locations import config_dirs, option_files, resource_dir
from brats_ablate.config.signatures import signature_of
from brats_ablate.runtime.text import closest, shell_quoted

MOVED_KEYS: Mapping[str, str] = {"trainer.validate_every": "validation.every"}
"""Key of an earlier version -> the key that took its place."""
OWN_OPTION = (
    "write {0} as a file conf/{0}/<name>.yaml of your own and choose {0}=<name> (in an experiment, "
    "`defaults: [override /{0}: <name>]`)"
)
"""How a group gets another class with other arguments."""
_MEANT = {
    "experiments": "+experiment", "folds": "fold", "seeds": "seed", "learning_rate": "lr", "dataset": "data",
    "gpus": "trainer.devices", "network": "model",
}  # fmt: skip
"""What others call a key -> the key."""
_MOST_SHOWN = 40
_OF_LAUNCHER = "hydra.launcher."
_NO_SETTINGS = {"defaults", "_target_"}


def format_error(error: BaseException) -> str | None:
    """Return one sentence for a composition error; None if `error` is not about the configuration."""
    if isinstance(error, ValueError) and str(error).startswith("Config group override must be a string"):
        return _no_option(error)
    if not isinstance(error, HydraException | OmegaConfBaseException | yaml.YAMLError):
        cause = error.__cause__
        return format_error(cause) if cause is not None else None
    text = str(error)
    if isinstance(error, OverrideParseException):
        if "=" not in error.override:
            return f"{error.override} has no value; write {_with_value(error.override)}"
        remedy = "write key=value, lists in brackets and all of it in quotes, as 'patches.shape=[128,128,128]'"
        key, _, value = error.override.partition("=")
        if re.match(r"""\[[^'"]*=""", value):
            remedy = """put elements with = in quotes, and all of it in others, as 'job.runs=["a/fold=0"]'"""
        elif not re.search("[\"'\\[{,]", value):  # a text with characters that Hydra's grammar reserves
            quoted = f"{key}='{value}'"
            remedy = f"quote the value for the program and for the shell: {shell_quoted(quoted)}"
        return f"{error.override} cannot be parsed; {remedy}"
    for pattern, sentence in _SENTENCES:
        if match := re.search(pattern, text, re.S):
            return sentence.format(*match.groups()) if isinstance(sentence, str) else sentence(match)
    return " ".join(line.strip() for line in text.splitlines() if line.strip() and "HYDRA_FULL_ERROR" not in line)


def _no_option(error: ValueError) -> str:
    """Return the sentence about a group that was given null, a number or a truth value.

    Hydra's text does not name the group, but the function that raised the error has the override.
    """
    *_, (frame, _) = walk_tb(error.__traceback__)
    override = frame.f_locals.get("override")
    if not isinstance(override, Override):  # of another release of Hydra
        return "a group is set to what is not an option; give the name of one (`--help` lists them)"
    group, value = override.key_or_group, override.get_value_element_as_str()
    options = option_files(group)
    example = "none" if "none" in options else next(iter(options), "<option>")
    return f"{group}={value} is not an option; choose one, such as {group}={example} (`--help` lists them)"


def _unknown_key(match: re.Match[str]) -> str:
    key, value = match.groups()
    if key.startswith(_OF_LAUNCHER):
        return _unknown_launcher_key(key.removeprefix(_OF_LAUNCHER))
    if key == "experiment":
        return f"experiments are added, not overridden: use +experiment={value}"
    if (meant := meant_key(key)) is not None:
        return f"{key} is not a known key; use {meant}={value}"
    if "@" in key:
        return f"{key} is not in the defaults; use +{key}={value} to add it"
    if "/" in key:
        return f"{key} is not a known group{_hint(key, ['hydra/launcher', 'hydra/sweeper'])}"
    if key in MOVED_KEYS:
        return f"{key} is {MOVED_KEYS[key]} now; use {MOVED_KEYS[key]}={value}"
    if value.startswith("{") and option_files(key):
        reason = f"{key}={{…}} has keys that the chosen option of {key}, into which it is merged, lacks"
        return f"{reason}; {OWN_OPTION.format(key)}"
    owners = _keys_and_owners()
    if key in owners:
        return f"{key} is a key of {' and '.join(owners[key])} only; choose it too"
    return f"{key} is not a known key{_hint(key, list(owners))}"


def _unknown_launcher_key(name: str) -> str:
    owners: dict[str, list[str]] = {}
    for option, file in option_files("hydra/launcher").items():
        for key in OmegaConf.load(file):
            owners.setdefault(str(key), []).append(option)
    if name in owners:
        launchers = " or ".join(f"hydra/launcher={option}" for option in owners[name])
        return f"{_OF_LAUNCHER}{name} is a setting of {launchers} only; choose it too"
    return f"{_OF_LAUNCHER}{name} is not a setting of a launcher{_hint(name, sorted(owners.keys() - _NO_SETTINGS))}"


def meant_key(key: str) -> str | None:
    """Return the key that a key of another program, or one without its group, stands for; None if that is not clear."""
    if key in _MEANT:
        return _MEANT[key]
    owners = [] if "." in key else [known for known in _keys_and_owners() if known.endswith(f".{key}")]
    return next((known for known in owners if known.startswith("trainer.")), owners[0] if len(owners) == 1 else None)


def is_left_over(path: str, key: str, target: str) -> bool:
    """Return whether a key at `path` is an argument of another option's class, over which `target` was set."""
    group, _, inside = path.partition(".")
    nodes: dict[str, Any] = {}
    for option, file in option_files(group).items():
        with suppress(OSError, OmegaConfBaseException, yaml.YAMLError):
            content = OmegaConf.load(file)
            node = OmegaConf.select(content, inside) if inside else content
            nodes[option] = OmegaConf.to_container(node) if OmegaConf.is_dict(node) else {}
    own = [node for option, node in nodes.items() if node.get("_target_") == target]
    if nodes.get(chosen(group) or "") in own or any(key in node for node in own):
        return False
    return any(_takes(str(node["_target_"]), key) for node in nodes.values() if "_target_" in node)


def _takes(target: str, key: str) -> bool:
    try:
        signature = signature_of(target)
    except LookupError:
        return False
    return signature is not None and signature.get(key) is not None


def _with_value(word: str) -> str:
    """Return what a word without = stands for: a job, an experiment, or a key."""
    name = word.lstrip("+-")
    if name in option_files("job"):
        return f"job={name}"
    return f"+experiment={name}" if name in option_files("experiment") else f"{word}=<value>"


def _unknown_option(match: re.Match[str]) -> str:
    wanted, group, rest = match.groups()
    option = wanted.removeprefix(f"{group}/")
    options = re.findall(r"^\t(\S+)$", rest, re.M)
    if not option:
        return f"{group}= has no value; choose one of {', '.join(options)}"
    if group == "trainer" and option.lower() in ("gpu", "gpus", "cuda"):
        return f"{group}={option} is not an option; a GPU is used without one, and trainer=cpu is the option for a CPU"
    if group == "data" and "/" in option:
        return f"{group}={option} is not an option; data= is the kind of data set, its folder is data.raw={option}"
    return f"{group}={option} is not an option{_hint(option, options)}"


def _unknown_primary(match: re.Match[str]) -> str:
    name = match[1]
    sweeps = [Path("sweeps").absolute(), resource_dir("sweeps")]  # `-cd sweeps` means both
    if any((folder / f"{name}.yaml").is_file() for folder in sweeps):
        return f"-cn {name} needs its folder; add -cd sweeps"
    if "provider=command-line" not in match.string:
        return f"-cn {name} names no configuration; give its folder too, as in -cd sweeps -cn table2"
    places = [Path(place) for place in re.findall(r"path=file://(\S+)", match.string)]
    if sweeps[0] in places:
        places.append(sweeps[1])
    names = sorted({file.stem for place in places for file in place.glob("*.yaml")})
    return f"-cn {name} names no configuration{_hint(name, names)}"


_NO_LAUNCHER_SETTINGS = "hydra.launcher has settings, but the chosen launcher has none; choose theirs: hydra/launcher=…"
_NO_FILE = "there is no configuration {!r}; check group and name (`--help` lists the groups)"
_SENTENCES: tuple[tuple[str, Callable[[re.Match[str]], str] | str], ...] = (
    (r"Could not override '([^']+)'.* use \+[^=]+=(\S*)", _unknown_key),
    (
        r"call to target 'hydra_plugins\.\S+':\s*TypeError.* unexpected keyword argument \\?'(\w+)",
        lambda m: _unknown_launcher_key(m[1]),
    ),
    (r"call to target 'hydra_plugins\.\S+':\s*TypeError.* takes no arguments", _NO_LAUNCHER_SETTINGS),
    (r"Could not find '([^']+)'\s*\n\s*\nAvailable options in '([^']+)':\s*\n(.*)", _unknown_option),
    (r"Could not (?:find|load) '([^']+)'", _NO_FILE),
    (r"Cannot find primary config '([^']+)'", _unknown_primary),
    (r"Additional config directory '([^']+)' not found", "there is no folder {}; give -cd an existing folder"),
    (r"Ambiguous value for argument '([^']+)'", "{} has several values; add -m to run each of them"),
    (r"Sweep parameters '([^']+)' requires --multirun", "{} has several values; add -m to run each of them"),
    (r"Multiple values for (\S+)\. To override", "{0} is given twice; give it once, or {0}=a,b and -m to run each"),
)
"""Pattern in an error's text, and the sentence to show instead, or the function that returns it."""


def _keys_and_owners() -> dict[str, list[str]]:
    """Return every key of every option, dotted, and the options that define it."""
    owners: dict[str, list[str]] = {}
    for file in sorted(file for folder in config_dirs() for file in folder.glob("*/*.yaml")):
        tree = OmegaConf.to_container(OmegaConf.load(file))
        if "@package" in file.read_text(encoding="utf-8") or not isinstance(tree, dict):
            continue
        for key in [file.parent.name, *_dotted(tree, f"{file.parent.name}.")]:
            owners.setdefault(key, []).append(f"{file.parent.name}={file.stem}")
    primary = OmegaConf.to_container(OmegaConf.load(resource_dir("conf") / "config.yaml"))
    assert isinstance(primary, dict)
    return owners | {key: ["config"] for key in _dotted(primary, "")}


def _dotted(node: Mapping[Any, Any], prefix: str) -> Iterator[str]:
    for key, value in node.items():
        if key == "defaults":
            continue
        yield f"{prefix}{key}"
        if isinstance(value, dict):
            yield from _dotted(value, f"{prefix}{key}.")


def _hint(wanted: str, known: list[str]) -> str:
    if match := closest(wanted, known):
        return f"; did you mean {match}?"
    return f"; choose one of {', '.join(known)}" if 0 < len(known) <= _MOST_SHOWN else "; `--cfg job` shows every key"
