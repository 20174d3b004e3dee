"""What the ranks of a submitted job leave in submitit's folder: a result each, and a log each."""

from __future__ import annotations

import re
from pathlib import Path

_COMPLAINT = re.compile(
    r"^(?:brats-ablate: (?P<sentence>.+)|(?P<error>(?:\w+\.)*\w*(?:Error|Exception|Failed|Exit)\b.*))$"
)
_SRUN = re.compile(r"^srun: error: (?P<node>\S+): tasks? (?P<ranks>[\d,-]+): (?P<end>.+)$", re.M)


def failed_rank(folder: Path, job: str, ranks: int) -> int | None:
    """The rank of a submitit job that ended with an error first; None if none did."""
    from submitit.core.utils import JobPaths, pickle_load

    found: list[tuple[float, int]] = []
    for rank in range(ranks):
        file = JobPaths(folder, job, rank).result_pickle
        if file.exists() and pickle_load(file)[0] == "error":
            found.append((file.stat().st_mtime, rank))
    return min(found)[1] if found else None


def silent_rank(folder: Path, job: str, ranks: int) -> int | None:
    """The first rank that left neither a result nor a word why; None if each left one."""
    from submitit.core.utils import JobPaths

    return next((rank for rank in range(ranks) if not JobPaths(folder, job, rank).result_pickle.exists()), None)


def complaint(folder: Path, job: str, rank: int) -> str:
    """The last error that a rank's log tells, as one sentence."""
    file = _log(folder, job, rank)
    last = ""
    for line in _text(file).splitlines():
        found = _COMPLAINT.match(line)
        if found and "TaskFailed" not in line:
            last = found["sentence"] or found["error"]
    return last or f"see {file}"


def srun_complaint(folder: Path, job: str) -> str:
    """What srun said first of a rank that died, such as "rank 3 on node2: Killed"; "" if nothing."""
    found = _SRUN.search(_text(_log(folder, job, 0)))  # the batch script shares rank 0's log
    return f"rank {found['ranks']} on {found['node']}: {found['end']}" if found else ""


def _log(folder: Path, job: str, rank: int) -> Path:
    from submitit.core.utils import JobPaths

    return JobPaths(folder, job, rank).stderr


def _text(file: Path) -> str:
    return file.read_text(encoding="utf-8", errors="replace") if file.exists() else ""
