"""Errors that a user can mend: one sentence that names the file or key and says what to do.

The entry point prints the sentence without a traceback and exits with `exit_code`; any other exception is a bug
of ours and keeps its traceback.
"""

from __future__ import annotations


class UserError(Exception):
    """Something outside the program is wrong: a file, the data, a run. The message is one sentence with the remedy."""

    exit_code = 1


class ConfigError(UserError):
    """The composed configuration is wrong: a mistyped key, an impossible combination, a missing value."""

    exit_code = 2


class DataError(UserError):
    """A data file or a prepared cohort is wrong."""


class RunFailed(UserError):
    """A training run cannot go on (non-finite loss, a checkpoint of another configuration, …).

    `rank` is the rank at fault where others tell of it too; None where it is the one that raises.
    """

    def __init__(self, message: str, rank: int | None = None) -> None:
        super().__init__(message)
        self.rank = rank
