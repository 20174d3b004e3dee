"""The ticket of a submitted run: which job has it, and whether that job is still queued or running.

A launcher leaves `launch.json` in a run's directory when it submits the run. Whoever comes later (the same command,
`job=status`) finds the job by it: a run in the queue is not submitted twice, and a launcher that was killed is replaced
by starting another.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from brats_ablate.runs.directory import write_json

SLURM, LOCAL = "slurm", "local"
WAITING, RUNNING = "waiting", "running"
_WAITING_STATES = ("PENDING", "REQUEUED", "REQUEUE_HOLD", "CONFIGURING", "SPECIAL_EXIT")


@dataclass(frozen=True)
class Submission:
    """A submission of one run. `job` is SLURM's job id or, on one machine, the controlling process."""

    cluster: str
    job: str
    folder: str
    """submitit's folder of this job: logs and one result per rank."""
    ranks: int
    host: str
    started: str = ""
    """Start time of a local process, so that a reused process id is not mistaken for it."""
    devices: tuple[int, ...] = ()
    status_before: str = ""
    """When the run's status was last written before this submission."""
    requeues: int = 0
    fruitless: int = 0
    """Requeues in a row without a finished epoch between them."""
    epoch: int = 0
    """Finished epochs at the last requeue."""


def read_submission(run: Path) -> Submission | None:
    """The last ticket of the run in directory `run`, if it has one."""
    file = run / "launch.json"
    if not file.exists():
        return None
    content = json.loads(file.read_text(encoding="utf-8"))
    return Submission(**content | {"devices": tuple(content["devices"])})


def write_submission(run: Path, ticket: Submission) -> None:
    """Replace the run's ticket."""
    write_json(run / "launch.json", asdict(ticket))


def local_submission(
    process: int, folder: Path, ranks: int, devices: tuple[int, ...], status_before: str
) -> Submission:
    """The ticket of a run that process `process` of this machine has."""
    return Submission(
        LOCAL, str(process), str(folder), ranks, socket.gethostname(), _start_time(process), devices, status_before
    )


def requeued(ticket: Submission, epoch: int) -> Submission:
    """The ticket after one more requeue, with `epoch` finished epochs by now."""
    fruitless = ticket.fruitless + 1 if epoch <= ticket.epoch else 1
    return replace(ticket, requeues=ticket.requeues + 1, fruitless=fruitless, epoch=epoch)


def activity(tickets: Iterable[Submission]) -> dict[Submission, str]:
    """WAITING or RUNNING for each ticket whose job is queued or alive; the others are left out.

    Where that cannot be known (SLURM does not answer, another machine's process) a SLURM job counts as waiting, so that
    nothing is trained twice, and another machine's process as gone: the run's own lock guards that case.
    """
    tickets = list(tickets)
    found = {t: RUNNING for t in tickets if t.cluster == LOCAL and is_alive(t)}
    slurm = [t for t in tickets if t.cluster == SLURM]
    if slurm:
        states = slurm_states()
        for ticket in slurm:
            if states is None:
                found[ticket] = WAITING
            elif ticket.job in states:
                found[ticket] = WAITING if states[ticket.job] in _WAITING_STATES else RUNNING
    return found


def is_alive(ticket: Submission) -> bool:
    """Whether a local ticket's controlling process still lives on this machine."""
    return (
        ticket.host == socket.gethostname() and ticket.started != "" and _start_time(int(ticket.job)) == ticket.started
    )


def slurm_states() -> Mapping[str, str] | None:
    """State of each of this user's queued or running jobs, array tasks one by one; None if SLURM does not answer."""
    if shutil.which("squeue") is None:
        return None
    try:
        lines = subprocess.run(
            ["squeue", "--noheader", "--array", "--me", "--format=%i|%T"],
            check=True, capture_output=True, text=True, timeout=60,
        ).stdout.splitlines()  # fmt: skip
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired):
        return None
    return dict(line.strip().split("|", 1) for line in lines if "|" in line)


def slurm_ends(jobs: Iterable[str]) -> dict[str, str]:
    """How SLURM says that jobs ended (COMPLETED, CANCELLED, OUT_OF_MEMORY, NODE_FAIL, …); what it forgot is missing."""
    wanted = sorted(set(jobs))
    if not wanted or shutil.which("sacct") is None:
        return {}
    command = ["sacct", "--noheader", "--parsable2", "--format=JobID,State", "--jobs", ",".join(wanted)]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False).stdout
    ends: dict[str, str] = {}
    for line in answer.splitlines():
        job, _, state = line.partition("|")
        word = state.split(" ", maxsplit=1)[0]  # "CANCELLED by 1000"
        step = job.partition(".")[2]
        if not step:
            ends[job] = word
        elif word == "OUT_OF_MEMORY":  # a step killed for memory shows there, the job as failed
            ends[job.partition(".")[0]] = word
    return ends


def _start_time(process: int) -> str:
    """The kernel's start time of a living process in ticks since boot; "" for a dead one, zombies included."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        return _without_proc(process)
    return "" if fields[0] in "ZX" else fields[19]


def _without_proc(process: int) -> str:
    if Path("/proc/self/stat").exists():
        return ""
    try:
        os.kill(process, 0)
    except OSError:
        return ""
    return "unknown"
