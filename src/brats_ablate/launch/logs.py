"""Parse what the ranks of a submitted job leave in submitit's folder: a result and a log each."""

from __future__ import annotations

import os
import pickle
import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from submitit.core.utils import JobPaths

_ERROR = re.compile(r"^(?:brats-ablate: (?P<message>.+)|(?P<error>(?:\w+\.)*\w*(?:Error|Exception|Failed|Exit)\b.*))$")
_SRUN_ERROR = re.compile(r"^srun: error: (?P<node>\S+): tasks? (?P<ranks>[\d,-]+): (?P<end>.+)$", re.M)


def first_failure(folder: Path, job: str, ranks: int) -> tuple[int, str] | None:
    """Return the rank that ended with an error first, and the last error message in its log; None if none did.

    A result that is not submitit's counts as an error.
    """
    results = {rank: _paths(folder, job, rank).result_pickle for rank in range(ranks)}
    failed = [r for r, file in results.items() if os.path.exists(file) and not _is_success(file)]
    if not failed:
        return None
    rank = min(failed, key=lambda r: results[r].stat().st_mtime)
    file = _paths(folder, job, rank).stderr
    matches = [_ERROR.match(line) for line in _read_log(file).splitlines() if "TaskFailed" not in line]
    messages = [match["message"] or match["error"] for match in matches if match]
    return rank, messages[-1] if messages else f"see {file}"


def rank_without_result(folder: Path, job: str, ranks: int) -> int | None:
    """Return the first rank that was killed before it left a result; None if each left one."""
    return next((rank for rank in range(ranks) if not os.path.exists(_paths(folder, job, rank).result_pickle)), None)


def srun_error(folder: Path, job: str) -> str:
    """Return srun's first message about a killed rank, such as "rank 3 on node2: Killed"; "" if there is none."""
    match = _SRUN_ERROR.search(_read_log(_paths(folder, job, 0).stderr))  # the batch script shares rank 0's log
    return f"rank {match['ranks']} on {match['node']}: {match['end']}" if match else ""


def _paths(folder: Path, job: str, rank: int) -> JobPaths:
    from submitit.core.utils import JobPaths

    return JobPaths(folder, job, rank)


class _PlainUnpickler(pickle.Unpickler):
    """Reads what consists of text, numbers and tuples, as submitit's results do: nothing else, which could run code."""

    def find_class(self, module: str, name: str) -> object:
        raise pickle.UnpicklingError(f"{module}.{name} is no plain value")


def _is_success(file: Path) -> bool:
    """Return whether a rank's result is that of a task that returned."""
    try:
        with file.open("rb") as stream:
            kind, _ = _PlainUnpickler(stream).load()
    except Exception:  # of any kind, as wrong bytes lead pickle anywhere
        return False
    return bool(kind == "success")


def _read_log(file: Path) -> str:
    """Return the text of a log; "" of one that does not exist, or that only its owner can read."""
    try:
        return file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
