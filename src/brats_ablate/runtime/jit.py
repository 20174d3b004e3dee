"""JIT compilation of loops over voxels that need several passes over memory as array operations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba

Loop = TypeVar("Loop", bound=Callable[..., Any])


def jit(loop: Loop) -> Loop:
    """Compile `loop` with Numba on its first call for each combination of argument types; it releases the GIL.

    The cache lies next to the source or in the user's cache, if either is writable. It is invalidated only by changes
    to the loop's own file. A loop must therefore be in the same file as the compiled functions that it calls; a test
    checks this.
    """
    options: dict[str, Any] = {"nogil": True, "fastmath": {"contract"}}  # contract: fused multiply-add
    try:
        return cast(Loop, numba.njit(**options, cache=True)(loop))
    except RuntimeError:  # no writable place for the cache
        return cast(Loop, numba.njit(**options)(loop))
