"""The exit code of this process: the highest of the jobs that it ran or followed.

Recorded here, as a sweeper gets scores from a job and no exit codes.
"""

from __future__ import annotations

_codes: list[int] = []


def record(code: int) -> None:
    """Record the exit code of a job."""
    _codes.append(code)


def highest() -> int:
    """Return the highest recorded exit code; 0 if there is none."""
    return max(_codes, default=0)


def reset() -> None:
    """Forget what was recorded."""
    _codes.clear()
