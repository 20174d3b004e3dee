"""Parse what the ranks of a submitted job leave in submitit's folder: a result and a log each."""

from __future__ import annotations

import re
from pathlib import Path

_ERROR = re.compile(r"^(?:brats-ablate: (?P<message>.+)|(?P<error>(?:\w+\.)*\w*(?:Error|Exception|Failed|Exit)\b.*))$")
_SRUN_ERROR = re.compile(r"^srun: error: (?P<node>\S+): tasks? (?P<ranks>[\d,-]+): (?P<end>.+)$", re.M)


def failed_rank(folder: Path, job: str, ranks: int) -> int | None:
    """Return the rank of a submitit job that ended with an error first; None if none did."""
    from submitit.core.utils import JobPaths, pickle_load

    failures: list[tuple[float, int]] = []
    for rank in range(ranks):
        file = JobPaths(folder, job, rank).result_pickle
        if file.exists() and pickle_load(file)[0] == "error":
            failures.append((file.stat().st_mtime, rank))
    return min(failures)[1] if failures else None


def rank_without_result(folder: Path, job: str, ranks: int) -> int | None:
    """Return the first rank that was killed before it left a result; None if each left one."""
    from submitit.core.utils import JobPaths

    return next((rank for rank in range(ranks) if not JobPaths(folder, job, rank).result_pickle.exists()), None)


def last_error(folder: Path, job: str, rank: int) -> str:
    """Return the last error message in a rank's log."""
    file = _log_file(folder, job, rank)
    message = ""
    for line in _read_log(file).splitlines():
        match = _ERROR.match(line)
        if match and "TaskFailed" not in line:
            message = match["message"] or match["error"]
    return message or f"see {file}"


def srun_error(folder: Path, job: str) -> str:
    """Return srun's first message about a killed rank, such as "rank 3 on node2: Killed"; "" if there is none."""
    match = _SRUN_ERROR.search(_read_log(_log_file(folder, job, 0)))  # the batch script shares rank 0's log
    return f"rank {match['ranks']} on {match['node']}: {match['end']}" if match else ""


def _log_file(folder: Path, job: str, rank: int) -> Path:
    from submitit.core.utils import JobPaths

    return Path(JobPaths(folder, job, rank).stderr)


def _read_log(file: Path) -> str:
    return file.read_text(encoding="utf-8", errors="replace") if file.exists() else ""
