"""What became of each run of a sweep: read from its status, its ranks' results and the scheduler, told as a table.

A run's own status is the truth. Where the run could not write it (killed for memory, its node lost) the scheduler names
the cause, and the launcher writes it down for the run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from brats_ablate.errors import RunFailed
from brats_ablate.launch.logs import complaint, failed_rank, silent_rank, srun_complaint
from brats_ablate.launch.submission import SLURM, Submission
from brats_ablate.runs.directory import FAILED, FINISHED, INTERRUPTED, PEER_LOST, RunDirectory, RunRecord

BEFORE = "finished before"
ELSEWHERE = "running elsewhere"
SUBMITTED = "submitted"
QUEUED = "queued or running"
NOT_STARTED = "not started"
_NOT_FAILURES = (FINISHED, BEFORE, SUBMITTED, QUEUED, ELSEWHERE, NOT_STARTED)

_CAUSES = {
    "OUT_OF_MEMORY": "killed for memory; ask for more, or lower trainer.batch_size",
    "TIMEOUT": "reached the time limit before it could save; raise hydra.launcher.signal_delay_s",
    "NODE_FAIL": "its node failed",
    "BOOT_FAIL": "its node failed",
    "CANCELLED": "cancelled",
    "PREEMPTED": "preempted",
    "DEADLINE": "reached its deadline",
}
_SILENT = "killed without a word (for memory?)"
_STOPPED = ("CANCELLED", "PREEMPTED")


@dataclass(frozen=True)
class Outcome:
    """What happened to one run, as the table at the end shows it."""

    label: str
    what: str
    epoch: str = ""
    best: float | None = None
    reason: str = ""

    @property
    def is_failure(self) -> bool:
        return self.what not in _NOT_FAILURES


def of_status(label: str, status: RunRecord | None, what: str) -> Outcome:
    """An outcome whose progress is read from a run's status."""
    if status is None:
        return Outcome(label, what)
    return Outcome(label, what, f"{status.epoch}/{status.epochs}", status.best, status.reason or "")


def of_ended_run(label: str, run: RunDirectory, ticket: Submission, end: str | None) -> Outcome:
    """The outcome of a training run whose job has ended; `end` is the scheduler's word for how, if it has one.

    Writes the run's status where the run died before it could.
    """
    status = run.status()
    if status is not None and status.updated == ticket.status_before:
        status = None  # written by an earlier job
    rank = failed_rank(Path(ticket.folder), ticket.job, ticket.ranks)
    if status is not None and status.state == FINISHED:
        return of_status(label, status, FINISHED)
    if status is not None and status.state == FAILED and status.names_cause:
        return of_status(label, status, FAILED)
    if rank is not None:
        told = complaint(Path(ticket.folder), ticket.job, rank)
        if PEER_LOST not in told:
            reason = f"rank {rank}: {told}" if ticket.ranks > 1 else told
            return of_status(label, _record(run, FAILED, reason), FAILED)
    if status is not None and status.state == INTERRUPTED:
        return of_status(label, replace(status, reason=status.reason or cause_of(end)), status.state)
    cause = cause_of(end) or srun_complaint(Path(ticket.folder), ticket.job) or _silence(ticket)
    cause += f" (SLURM: {end})" if end else ""
    what = INTERRUPTED if end in _STOPPED else FAILED
    return of_status(label, _record(run, what, f"{cause}; logs: {ticket.folder}"), what)


def of_ended_job(label: str, ticket: Submission, end: str | None) -> Outcome:
    """The outcome of a job that is not training: what its ranks returned."""
    from submitit.core.utils import JobPaths

    rank = failed_rank(Path(ticket.folder), ticket.job, ticket.ranks)
    if rank is not None:
        return Outcome(label, FAILED, reason=complaint(Path(ticket.folder), ticket.job, rank))
    if all(JobPaths(ticket.folder, ticket.job, r).result_pickle.exists() for r in range(ticket.ranks)):
        return Outcome(label, FINISHED)
    return Outcome(label, FAILED, reason=f"{_CAUSES.get(end or '', _SILENT)}; logs: {ticket.folder}")


def cause_of(end: str | None) -> str:
    """The scheduler's word for how a job ended, in a sentence; "" if it says nothing."""
    return _CAUSES.get(end or "", "")


def table(outcomes: Sequence[Outcome]) -> str:
    """One line per run, failures last, and a line that counts them."""
    ordered = sorted(outcomes, key=lambda o: o.is_failure)
    label_width = max((len(o.label) for o in ordered), default=0)
    lines = [
        f"{o.label:<{label_width}}  {o.what:<17}  {o.epoch:>9}  "
        f"{'' if o.best is None else f'{o.best:.4f}':>6}  {o.reason}".rstrip()
        for o in ordered
    ]
    counts = {o.what: sum(p.what == o.what for p in ordered) for o in ordered}
    total = ", ".join(f"{count} {what}" for what, count in counts.items())
    return "\n".join([*lines, f"{len(ordered)} runs: {total}" if ordered else "no runs"])


def _record(run: RunDirectory, state: str, reason: str) -> RunRecord:
    """Write a dead run's status for it, unless it lives after all, or its directory is gone."""
    found = run.status() or RunRecord(state)
    if not run.path.is_dir():  # vanished: to begin another directory in its place would hide it
        return replace(found, state=state, reason=reason)
    status = RunRecord(state, found.epoch, found.epochs, found.best, reason)
    try:
        with run.lock(patience_s=0):
            run.write_status(status)
    except RunFailed:
        return found
    return status


def _silence(ticket: Submission) -> str:
    rank = silent_rank(Path(ticket.folder), ticket.job, ticket.ranks)
    return f"rank {rank}: {_SILENT}" if ticket.ranks > 1 and rank is not None else _SILENT


def ended_by(ticket: Submission, ends: dict[str, str]) -> str | None:
    """The scheduler's word for how a ticket's job ended."""
    return ends.get(ticket.job) if ticket.cluster == SLURM else None
