"""User-facing errors: one sentence that names the file or key, and the fix.

The entry point prints the sentence without a traceback and exits with `exit_code`. Any other exception is a bug and
keeps its traceback.
"""

from __future__ import annotations

from pathlib import Path

from brats_ablate.runtime.text import first_line


class UserError(Exception):
    """Something outside the program is wrong: a file, the data, a run."""

    exit_code = 1


class ConfigError(UserError):
    """The composed configuration is wrong: a mistyped key, an impossible combination, a missing value."""

    exit_code = 2


class ConstructionFailed(ConfigError):
    """The constructor of a class that is not this program's raised an error of its own, which is the cause."""


class DataError(UserError):
    """A data file or a prepared cohort is wrong."""


class Unreadable(UserError):
    """A file that this program wrote has other content now: damaged, or of a later version.

    Whoever reads many runs or cases reports it and continues with the others.
    """

    def __init__(self, file: Path, reason: object, remedy: str = "delete it and run the command that wrote it") -> None:
        text = f"{file} is damaged, or of a later version ({first_line(reason)}); restore it, or {remedy} again"
        super().__init__(text)


class JobFailed(UserError):
    """A job of a sweep ended with exit code `code` and has printed why: what a sweeper gets in place of a score."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.exit_code = code

    def __str__(self) -> str:
        return f"a run of the sweep ended with exit code {self.exit_code}; its message is above"


class WorkerKilled(UserError):
    """A worker process ended without a result: killed by the system, or by somebody."""


class RunFailed(UserError):
    """A training run cannot continue (non-finite loss, a checkpoint of a different configuration, …).

    `rank` is the rank that failed, if it is not the one that raises.
    """

    def __init__(self, message: str, rank: int | None = None) -> None:
        super().__init__(message)
        self.rank = rank
