"""Loops over voxels, compiled: for the few that make several passes over memory when written as array operations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numba

Loop = TypeVar("Loop", bound=Callable[..., Any])


def jit(loop: Loop) -> Loop:
    """Compiles `loop`, or what such a loop calls, on its first call for each combination of argument types.

    It then runs without the interpreter lock, so other threads go on meanwhile.

    What was compiled is kept beside the source or in the user's cache, where either can be written. It is made anew
    when the loop's own file changes, not when only the file of something that it calls does.
    """
    try:  # a multiplication and an addition may be rounded as one
        return numba.njit(nogil=True, fastmath={"contract"}, cache=True)(loop)
    except RuntimeError:  # neither can
        return numba.njit(nogil=True, fastmath={"contract"})(loop)
