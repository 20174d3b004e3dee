"""Hydra's search for `hydra.mode`, left out where no file can set it: a whole composition, a third of a short command.

Hydra composes a command twice, first to look for `hydra.mode`, as a sweep file may set it. The method that does this is
private; should it be renamed, Hydra searches as before.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

_SEARCH = "get_mode"
_OWN_FILES = ("-c", "--config", "hydra.mode", "hydra.searchpath")
"""Start of an argument that names files, or the key itself."""


@contextmanager
def searched_in_own_files_only(arguments: Sequence[str]) -> Iterator[None]:
    """Let Hydra search only if the command line names a folder, a file or the key; the package's own do not set it."""
    from hydra._internal.hydra import Hydra

    original = getattr(Hydra, _SEARCH, None)
    if original is None or any(each.startswith(_OWN_FILES) for each in arguments):
        yield
        return
    setattr(Hydra, _SEARCH, lambda *_, **__: None)
    try:
        yield
    finally:
        setattr(Hydra, _SEARCH, original)
