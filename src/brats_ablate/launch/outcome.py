"""Outcome of each run of a sweep, from its status, its ranks' results and the scheduler; waiting for it; the summary.

The run's own status comes first. Where the run could not write it (killed for memory, its node failed) the scheduler
names the cause, and the launcher writes the status for the run.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from brats_ablate.errors import RunFailed, UserError
from brats_ablate.launch.logs import first_failure, rank_without_result, srun_error
from brats_ablate.launch.submission import SLURM, Submission, active_states, slurm_final_states, unanswered
from brats_ablate.launch.sweep import SweepPlan, SweepRun
from brats_ablate.runs.directory import PEER_LOST, RunDirectory, RunRecord
from brats_ablate.runs.state import RunState
from brats_ablate.runtime.output import print_line, print_message
from brats_ablate.runtime.text import align, counted

ALREADY_FINISHED = "already finished"
RUNNING_ELSEWHERE = "running elsewhere"
IN_SLURM = "queued or running in SLURM"

_CAUSES = {
    "OUT_OF_MEMORY": "out of memory; request more, or lower trainer.batch_size",
    "TIMEOUT": "reached the time limit before it was requeued; raise hydra.launcher.signal_delay_s",
    "NODE_FAIL": "node failure",
    "BOOT_FAIL": "node failure",
    "CANCELLED": "canceled",
    "PREEMPTED": "preempted",
    "DEADLINE": "reached its deadline",
}
_KILLED = "killed (out of memory?)"
_STOPPED = ("CANCELLED", "PREEMPTED")


@dataclass(frozen=True)
class Outcome:
    """One row of the summary."""

    label: str
    result: str
    """A RunState, or a message such as ALREADY_FINISHED for a run that was not followed to its end."""
    progress: str = ""
    best: float | None = None
    reason: str = ""

    @classmethod
    def from_record(cls, label: str, record: RunRecord | None, result: str) -> Outcome:
        """Return an outcome with the progress that a run recorded."""
        if record is None:
            return cls(label, result)
        progress = f"{record.epoch}/{record.epochs}" if record.epochs else ""  # none before a first start
        return cls(label, result, progress, record.best, record.reason or "")

    @classmethod
    def refused(cls, label: str, error: UserError) -> Outcome:
        """Return the outcome of a run that became impossible after the sweep was checked; print why."""
        print_message(error)
        return cls(label, RunState.FAILED, reason="see its message above")

    @property
    def is_failure(self) -> bool:
        """True if the run has to be started again."""
        return self.result in (RunState.FAILED, RunState.INTERRUPTED)


def run_outcome(label: str, run: RunDirectory, submission: Submission, final_state: str | None) -> Outcome:
    """Return the outcome of a training run whose job has ended; write the run's status if the run could not.

    `final_state` is that of the job in SLURM, if known.
    """
    record = _final_record(run, submission, final_state)
    return Outcome.from_record(label, record, record.state)


def _final_record(run: RunDirectory, submission: Submission, final_state: str | None) -> RunRecord:
    """Return how the run ended; its own reason comes before that of its ranks, and theirs before SLURM's."""
    status = run.status()
    if status is None or status.updated == submission.status_before:  # not written by this job
        status = RunRecord(RunState.LOST)
    if status.state == RunState.FINISHED or (status.state == RunState.FAILED and status.names_cause):
        return status
    folder, job, ranks = Path(submission.folder), submission.job, submission.ranks
    failure = first_failure(folder, job, ranks)
    if failure is not None and PEER_LOST not in failure[1]:
        return _write_status(run, RunState.FAILED, f"rank {failure[0]}: {failure[1]}" if ranks > 1 else failure[1])
    if status.state == RunState.INTERRUPTED:
        return replace(status, reason=status.reason or final_state_cause(final_state))
    rank = rank_without_result(folder, job, ranks)
    killed = f"rank {rank}: {_KILLED}" if ranks > 1 and rank is not None else _KILLED
    cause = final_state_cause(final_state) or srun_error(folder, job) or killed
    cause += f" (SLURM: {final_state})" if final_state else ""
    state = RunState.INTERRUPTED if final_state in _STOPPED else RunState.FAILED
    return _write_status(run, state, f"{cause}; logs: {folder}")


def job_outcome(label: str, submission: Submission, final_state: str | None) -> Outcome:
    """Return the outcome of a job that does not train a run, from its ranks' results."""
    folder, job = Path(submission.folder), submission.job
    failure = first_failure(folder, job, submission.ranks)
    if failure is not None:
        return Outcome(label, RunState.FAILED, reason=failure[1])
    if rank_without_result(folder, job, submission.ranks) is None:
        return Outcome(label, RunState.FINISHED)
    return Outcome(label, RunState.FAILED, reason=f"{final_state_cause(final_state) or _KILLED}; logs: {folder}")


def final_state_cause(final_state: str | None) -> str:
    """Return why SLURM ended a job, as a message; "" if its final state names no cause."""
    return _CAUSES.get(final_state or "", "")


def ended_outcomes(sweep_runs: Sequence[SweepRun], submissions: Mapping[int, Submission]) -> dict[int, Outcome]:
    """Return the outcomes of jobs that have ended, by index in the sweep."""
    if not submissions:
        return {}
    final_states = slurm_final_states(s.job for s in submissions.values() if s.cluster == SLURM)
    outcomes = {}
    for i, submission in submissions.items():
        label, run = sweep_runs[i].label, sweep_runs[i].run
        state = final_states.get(submission.job) if submission.cluster == SLURM else None
        outcomes[i] = run_outcome(label, run, submission, state) if run else job_outcome(label, submission, state)
    return outcomes


def skipped_outcomes(sweep_runs: Sequence[SweepRun], plan: SweepPlan) -> dict[int, Outcome]:
    """Return the outcomes of runs that were neither submitted nor followed, by index in the sweep."""
    results = dict.fromkeys(plan.finished, ALREADY_FINISHED) | dict.fromkeys(plan.running_elsewhere, RUNNING_ELSEWHERE)
    return {i: Outcome.from_record(sweep_runs[i].label, sweep_runs[i].status, text) for i, text in results.items()}


def left_outcomes(sweep_runs: Sequence[SweepRun], submissions: Mapping[int, Submission]) -> dict[int, Outcome]:
    """Return the outcomes of runs that are left to the launcher that submitted them, by index in the sweep."""
    active = active_states(submissions.values())
    outcomes = {}
    for i, submission in submissions.items():
        each, silent = sweep_runs[i], active.get(submission, RunState.QUEUED) is None
        if submission.cluster != SLURM:
            outcomes[i] = Outcome.from_record(each.label, each.status, RUNNING_ELSEWHERE)
            continue
        reason = unanswered(each.run.path, submission) if silent and each.run else f"SLURM job {submission.job}"
        outcomes[i] = Outcome(each.label, IN_SLURM, reason=reason)
    return outcomes


def wait_for_jobs(
    sweep_runs: Sequence[SweepRun], submissions: Mapping[int, Submission], poll_seconds: float
) -> dict[int, Outcome]:
    """Follow submitted jobs until each has ended and return their outcomes, both by index in the sweep.

    Prints the numbers of jobs by state whenever they change.
    """
    outcomes: dict[int, Outcome] = {}
    printed = ""
    while len(outcomes) < len(submissions):
        pending = {i: s for i, s in submissions.items() if i not in outcomes}
        active = active_states(pending.values())
        outcomes |= ended_outcomes(sweep_runs, {i: s for i, s in pending.items() if s not in active})
        queued, running, silent = (list(active.values()).count(s) for s in (RunState.QUEUED, RunState.RUNNING, None))
        failed = sum(o.is_failure for o in outcomes.values())
        line = f"{queued} queued, {running} running, {len(outcomes) - failed} finished"
        line += f", {failed} failed or interrupted" if failed else ""
        line += f", {silent} unknown, as SLURM does not answer" if silent else ""
        if line != printed:
            print_line(f"{time.strftime('%H:%M:%S')}  {line}")
            printed = line
        if active:
            time.sleep(poll_seconds)
    return outcomes


def print_plan(plan: SweepPlan, total: int) -> None:
    """Print how many of `total` runs will be submitted, and why the others are not."""
    parts = [f"{len(plan.to_submit)} of {total} runs to do"]
    parts += [f"{len(plan.finished)} {ALREADY_FINISHED}"] if plan.finished else []
    parts += [f"{len(plan.already_submitted)} already queued or running"] if plan.already_submitted else []
    parts += [f"{len(plan.running_elsewhere)} {RUNNING_ELSEWHERE}"] if plan.running_elsewhere else []
    print_line(", ".join(parts))


def print_summary(outcomes: Mapping[int, Outcome]) -> int:
    """Print one line per run and the counts; return exit code 1 if any run failed or was interrupted."""
    ordered = [outcomes[i] for i in sorted(outcomes)]
    print_line(format_outcomes(ordered))
    return int(any(o.is_failure for o in ordered))


def format_outcomes(outcomes: Sequence[Outcome]) -> str:
    """Return one line per run, failures last, and a line with the counts."""
    if not outcomes:
        return "no runs"
    ordered = sorted(outcomes, key=lambda o: o.is_failure)
    rows = [[o.label, o.result, o.progress, "" if o.best is None else f"{o.best:.4f}", o.reason] for o in ordered]
    counts = {o.result: sum(p.result == o.result for p in ordered) for o in ordered}
    total = ", ".join(f"{count} {result}" for result, count in counts.items())
    return f"{align(rows)}\n{counted(len(ordered), 'run')}: {total}"


def _write_status(run: RunDirectory, state: RunState, reason: str) -> RunRecord:
    """Write the status of a run whose process is dead, unless its directory vanished or another process trains it."""
    before = run.status() or RunRecord(state)
    status = replace(before, state=state, reason=reason)
    if not run.path.is_dir():  # creating another one in its place would hide that it vanished
        return status
    try:
        with run.lock(patience_s=0):
            run.write_status(status)
    except RunFailed:
        return replace(before, state=state)
    return status
