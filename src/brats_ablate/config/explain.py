"""Tells Hydra's and OmegaConf's errors in one sentence with the remedy."""

from __future__ import annotations

import difflib
import re

from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException


def explain(error: BaseException) -> str | None:
    """One sentence for a composition error; None if `error` is not about the configuration."""
    if not isinstance(error, HydraException | OmegaConfBaseException):
        cause = error.__cause__
        return explain(cause) if cause is not None else None
    text = str(error)
    if found := re.search(r"Could not override '([^']+)'", text):
        return _unknown_key(found.group(1))
    if found := re.search(r"Could not find '([^']+)'\s*\n\s*\nAvailable options in '([^']+)':\s*\n(.*)", text, re.S):
        wanted, group, rest = found.groups()
        option = wanted.removeprefix(f"{group}/")
        options = re.findall(r"^\t(\S+)$", rest, re.M)
        return f"{group}={option} is not an option{_hint(option, options)}"
    if found := re.search(r"Could not (?:find|load) '([^']+)'", text):
        return f"there is no configuration {found.group(1)!r}; check group and name (`--help` lists the groups)"
    if found := re.search(r"Cannot find primary config '([^']+)'", text):
        return f"there is no primary configuration {found.group(1)!r}; check -cn and -cd"
    return " ".join(line.strip() for line in text.splitlines() if line.strip() and "HYDRA_FULL_ERROR" not in line)


def _unknown_key(key: str) -> str:
    if "@" in key or key.split(".", maxsplit=1)[0] == "experiment":
        return f"{key} is not in the defaults; to choose an experiment write +experiment=<name>"
    return f"{key} is not a known key{_hint(key, _all_keys())}"


def _all_keys() -> list[str]:
    """Every key of the default configuration, dotted."""
    from hydra import compose, initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra
    from omegaconf import DictConfig

    from brats_ablate.config.locations import folder

    GlobalHydra.instance().clear()
    with initialize_config_dir(str(folder("conf")), version_base="1.3"):
        cfg = compose("config")

    def walk(node: DictConfig, prefix: str) -> list[str]:
        keys: list[str] = []
        for key in node:
            keys.append(f"{prefix}{key}")
            child = node._get_node(key)
            if isinstance(child, DictConfig) and not child._is_none():
                keys += walk(child, f"{prefix}{key}.")
        return keys

    return walk(cfg, "")


def _hint(wanted: str, known: list[str]) -> str:
    close = difflib.get_close_matches(wanted, known, n=1)
    if close:
        return f"; did you mean {close[0]}?"
    return f"; choose one of {', '.join(known)}" if 0 < len(known) <= 40 else "; `--cfg job` shows every key"
