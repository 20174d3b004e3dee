"""Submits the runs of a sweep that are due to SLURM, as one job array, by submitit."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from brats_ablate.errors import UserError
from brats_ablate.launch import watch
from brats_ablate.launch.outcome import QUEUED, SUBMITTED, Outcome
from brats_ablate.launch.submission import SLURM, Submission, write_submission
from brats_ablate.launch.sweep import SweepRun, one_launcher_at_a_time, select
from brats_ablate.launch.worker import RunTask

# A signal that comes before Python has installed its handlers must not kill the rank: ignored signals survive exec.
_PYTHON = f'sh -c \'trap "" USR2 TERM; exec "$0" "$@"\' {shlex.quote(sys.executable)}'


def launch(
    works: Sequence[SweepRun], folder: Path, parameters: dict[str, Any], *, wait: bool, poll_seconds: float
) -> tuple[dict[int, Outcome], int]:
    """Submit what is due, follow it and what an earlier launcher submitted; returns outcomes and exit code.

    Raises:
        ConfigError: a run exists under another configuration.
        UserError: SLURM refused the submission.
    """
    with one_launcher_at_a_time(works):
        selection = select(works)
        watch.announce(selection, len(works))
        submitted = _submit([works[i] for i in selection.due], folder, parameters)
    tickets = selection.attached | dict(zip(selection.due, submitted, strict=True))
    outcomes = watch.untouched(works, selection)
    if wait:
        print("waiting for them; if this is stopped the jobs go on, and the same command waits again", flush=True)
        outcomes |= watch.wait(works, tickets, poll_seconds)
        return outcomes, watch.conclude(outcomes)
    for i, ticket in tickets.items():
        what = QUEUED if i in selection.attached else SUBMITTED
        outcomes[i] = Outcome(works[i].label, what, reason=f"SLURM job {ticket.job}")
    return outcomes, watch.conclude(outcomes)


def _submit(due: Sequence[SweepRun], folder: Path, parameters: dict[str, Any]) -> list[Submission]:
    """One array for all; a ticket in each run's directory."""
    if not due:
        return []
    import socket

    import submitit
    from submitit.core.utils import FailedJobError, FailedSubmissionError

    before = [(w.run.status() if w.run else None) for w in due]
    try:
        executor = submitit.AutoExecutor(folder / "%j", cluster="slurm", slurm_python=_PYTHON)
    except RuntimeError as error:
        raise UserError(f"{error}; submit from a machine that has SLURM's sbatch and srun") from None
    executor.update_parameters(
        # One rank's failure ends the run, and a rank that has left does not.
        slurm_srun_args=["--kill-on-bad-exit=1", "--wait=0"],
        **parameters,
    )
    try:
        jobs = executor.submit_array([RunTask(w.configuration, str(w.run.path) if w.run else "") for w in due])
    except (FailedJobError, FailedSubmissionError) as error:
        last = [line for line in str(error).splitlines() if line.strip()][-1]
        raise UserError(f"SLURM refused the jobs: {last.strip()}; correct hydra.launcher's settings") from None
    tickets = []
    for each, job, status in zip(due, jobs, before, strict=True):
        at = str(job.paths.folder)
        ticket = Submission(
            SLURM, job.job_id, at, job.num_tasks, socket.gethostname(), status_before=status.updated if status else ""
        )
        tickets.append(ticket)
        if each.run:
            write_submission(each.run.path, ticket)
    print(f"SLURM job {jobs[0].job_id.split('_')[0]}: {len(jobs)} runs; logs in {folder}", flush=True)
    return tickets
