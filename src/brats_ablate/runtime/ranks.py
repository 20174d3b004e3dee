"""The place of this process among those that torchrun or a scheduler started, by its environment; without torch."""

from __future__ import annotations

import os

from brats_ablate.errors import ConfigError


def rank() -> int:
    """Return the rank of this process; 0 where it is the only one.

    Raises:
        ConfigError: RANK is no number.
    """
    return _number("RANK", 0)


def local_rank() -> int:
    """Return the number of this process among those of its machine; 0 where it is the only one.

    Raises:
        ConfigError: LOCAL_RANK is no number.
    """
    return _number("LOCAL_RANK", 0)


def local_world_size() -> int:
    """Return the number of processes on this machine that share the work.

    Raises:
        ConfigError: LOCAL_WORLD_SIZE is no number.
    """
    return _number("LOCAL_WORLD_SIZE", 1)


def world_size() -> int:
    """Return the number of processes that share the work; 1 where nothing has started several.

    Raises:
        ConfigError: WORLD_SIZE is no number above 0, or RANK does not say which of them this process is.
    """
    size = _number("WORLD_SIZE", 1)
    if size < 1 or (size > 1 and not 0 <= rank() < size) or (size > 1 and "RANK" not in os.environ):
        shown = " ".join(f"{name}={os.environ[name]}" for name in ("WORLD_SIZE", "RANK") if name in os.environ)
        raise ConfigError(
            f"{shown} in the environment does not say which of the processes this is; unset WORLD_SIZE, or start the "
            "processes by torchrun"
        )
    return size


def _number(name: str, default: int) -> int:
    text = os.environ.get(name, str(default))
    try:
        return int(text)
    except ValueError:
        raise ConfigError(f"{name}={text} in the environment is not a number; unset {name}") from None
