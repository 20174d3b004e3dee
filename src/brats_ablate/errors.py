"""User-facing errors: one sentence that names the file or key, and the fix.

The entry point prints the sentence without a traceback and exits with `exit_code`. Any other exception is a bug and
keeps its traceback.
"""

from __future__ import annotations


class UserError(Exception):
    """Something outside the program is wrong: a file, the data, a run."""

    exit_code = 1


class ConfigError(UserError):
    """The composed configuration is wrong: a mistyped key, an impossible combination, a missing value."""

    exit_code = 2


class DataError(UserError):
    """A data file or a prepared cohort is wrong."""


class RunFailed(UserError):
    """A training run cannot continue (non-finite loss, a checkpoint of a different configuration, …).

    `rank` is the rank that failed, if it is not the one that raises.
    """

    def __init__(self, message: str, rank: int | None = None) -> None:
        super().__init__(message)
        self.rank = rank
