"""What is written on the command line, turned into what Hydra's parser takes."""

from __future__ import annotations

import os
import re
from itertools import pairwise
from pathlib import Path

from brats_ablate.config.locations import own_conf, resource_dir
from brats_ablate.runtime.output import print_message

_MOVED = {"job.metrics.": "metrics.", "job.scorer.": "metrics."}
"""Start of a key of an earlier version -> the group that these keys are in now."""
_FLAGS_WITH_VALUE = (
    *("-cd", "--config-dir", "-cn", "--config-name", "-cp", "--config-path", "-p", "--package", "-c", "--cfg"),
)
_FLAGS = (
    *("--help", "--hydra-help", "--version", "--cfg", "--resolve", "--package", "--run", "--multirun", "--info"),
    *("--shell-completion", "--config-path", "--config-name", "--config-dir", "--experimental-rerun"),
)
"""Hydra's; a start of one stands for it."""
_PATHS = re.compile(
    r"(?P<key>\+{0,2}(data\.(raw|list)|paths\.\w+|init\.checkpoint|"
    r"job\.(run|source|predictions|references|settings|reuse|output|json|sweeps)))=(?P<value>.+)"
)
_PATH_LISTS = re.compile(r"(?P<key>\+{0,2}job\.(runs|methods|tables))=\[(?P<items>(?:\$\{[^{},]*\}|[^][{}'\"])*)\]")
"""Lists of paths or names, in brackets and without quotes or further brackets."""
_LISTED = ("init.checkpoint", "job.")
"""Start of the keys of paths that a grid or a list can have several of, separated by commas."""
_OPTION_OF = {"data.convention": "labels", "data.layout": "data/layout", "job.convention": "job.prediction_labels"}


def as_hydra_reads(arguments: list[str]) -> list[str]:
    """Return the arguments for Hydra: current keys, quoted paths, folders of options, flags in front."""
    arguments = separated_flags(arguments)
    return flags_first(own_options(packaged_sweeps(open_keys(quoted_paths(current_keys(arguments))))))


def separated_flags(arguments: list[str]) -> list[str]:
    """Separate a flag from its value, as in `-cd=sweeps`."""
    pairs = [(each, each.partition("=")) for each in arguments]
    return [part for each, (flag, _, v) in pairs for part in ([flag, v] if flag in _FLAGS_WITH_VALUE and v else [each])]


def unknown_flag(arguments: list[str]) -> str | None:
    """Return a sentence about an option that is written as a flag; None if there is none."""
    for argument in arguments:
        name = argument.partition("=")[0]
        if name.startswith("--") and not any(known.startswith(name) for known in _FLAGS):
            return f"{argument} is not a flag; write options without dashes, as {argument.lstrip('-')}"
    return None


def current_keys(arguments: list[str]) -> list[str]:
    """Replace the keys of earlier versions by the keys and options that took their place, with a notice."""
    from brats_ablate.config.messages import MOVED_KEYS

    renamed = []
    for argument in arguments:
        key, equals, value = argument.partition("=")
        option = _OPTION_OF.get(key) if equals else None
        if option is not None:
            print_message(f"{key} is an option now; reading {argument} as {option}={value}")
            argument = f"{option}={value}"
        for before, now in _MOVED.items():
            if key.lstrip("+~").startswith(before):
                print_message(f"{before}… is {now}… now; reading {argument} so")
                argument = argument.replace(before, now, 1)
        if equals and (moved := MOVED_KEYS.get(key.lstrip("+~"))) is not None:
            print_message(f"{key} is {moved} now; reading {argument} as {moved}={value}")
            argument = f"{moved}={value}"
        renamed.append(argument)
    return renamed


def open_keys(arguments: list[str]) -> list[str]:
    """Let the command line add arguments to `model.network`, which has those of any class, without Hydra's +."""
    return [f"++{each}" if each.startswith(("model.network.", "model.network=")) else each for each in arguments]


def quoted_paths(arguments: list[str]) -> list[str]:
    """Expand ~ in paths, and quote those with characters that Hydra's grammar takes in quotes only, such as =."""
    quoted = [_quoted(match) if (match := _PATHS.fullmatch(each)) else each for each in arguments]
    return [_with_quoted_items(match) if (match := _PATH_LISTS.fullmatch(each)) else each for each in quoted]


def packaged_sweeps(arguments: list[str]) -> list[str]:
    """Replace `-cd sweeps` by the installed sweeps, unless the current directory has that folder and the named file."""
    name = next((v for p, v in pairwise(arguments) if p in ("-cn", "--config-name")), "")
    installed = resource_dir("sweeps")
    own = Path("sweeps") / f"{name}.yaml"
    if Path("sweeps").is_dir() and (own.exists() or not (installed / own.name).exists()):
        return arguments
    return [
        str(installed) if value == "sweeps" and previous in ("-cd", "--config-dir") else value
        for previous, value in zip(["", *arguments], arguments, strict=False)
    ]


def own_options(arguments: list[str]) -> list[str]:
    """Add `-cd conf` if the current directory has a folder conf of its own and no other folder is given."""
    if any(a.partition("=")[0] in ("-cd", "--config-dir") for a in arguments) or own_conf() is None:
        return arguments
    return ["-cd", "conf", *arguments]


def flags_first(arguments: list[str]) -> list[str]:
    """Move flags and their values to the front: Hydra's parser takes overrides on one side of them only."""
    flags: list[str] = []
    overrides: list[str] = []
    for previous, argument in zip(["", *arguments], arguments, strict=False):
        is_flag = argument.startswith("-") or previous in _FLAGS_WITH_VALUE
        (flags if is_flag else overrides).append(argument)
    return flags + overrides


def _quoted(match: re.Match[str]) -> str:
    key, value = match["key"], match["value"]
    is_list = key.startswith(_LISTED) and not re.search(r"\$\{[^}]*,", value)
    paths = value.split(",") if is_list else [value]
    return f"{key}={','.join(map(_quoted_path, paths))}"


def _with_quoted_items(match: re.Match[str]) -> str:
    items = match["items"].split(",")
    return f"{match['key']}=[{','.join(_quoted_path(item.strip()) for item in items)}]"


def _quoted_path(path: str) -> str:
    if path[:1] in ("'", '"', "[", "{"):
        return path
    path = os.path.expanduser(path)
    if re.fullmatch(r"[\w/.+%*@?|:${}-]*", path, re.ASCII):
        return path
    return "'" + path.replace("'", "\\'") + "'"
