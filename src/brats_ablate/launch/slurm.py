"""Submit the runs of a sweep to SLURM as one job array, by submitit; as several if SLURM's arrays are shorter."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from brats_ablate.errors import UserError
from brats_ablate.launch.outcome import (
    Outcome,
    left_outcomes,
    print_plan,
    print_summary,
    skipped_outcomes,
    wait_for_jobs,
)
from brats_ablate.launch.submission import SLURM, Submission, run_command, write_submission
from brats_ablate.launch.sweep import SweepRun, configuration, plan_sweep, submission_lock
from brats_ablate.launch.worker import Execute, RunTask
from brats_ablate.runtime.output import print_line

# A signal that comes before Python has installed its handlers must not kill the rank: ignored signals survive exec.
_PYTHON = f'sh -c \'trap "" USR2 TERM; exec "$0" "$@"\' {shlex.quote(sys.executable)}'

_JOBS_OWN = ("SLURM_", "SBATCH_", "SRUN_", "SALLOC_")
_CLUSTERS_OWN = ("SLURM_CONF", "SLURM_CONF_SERVER", "SLURM_JWT")
"""How commands reach SLURM, from within a job or not."""


def launch(
    sweep_runs: Sequence[SweepRun],
    execute: Execute,
    folder: Path,
    parameters: Mapping[str, object],
    *,
    wait: bool,
    poll_seconds: float,
) -> int:
    """Submit what is not done, follow it and what an earlier launcher submitted, and return the exit code.

    Raises:
        ConfigError: a run exists with a different configuration.
        UserError: SLURM refused the submission.
    """
    with submission_lock(sweep_runs):
        plan = plan_sweep(sweep_runs)
        print_plan(plan, len(sweep_runs))
        submitted = _submit([sweep_runs[i] for i in plan.to_submit], execute, folder, parameters)
    new = dict(zip(plan.to_submit, submitted, strict=True))
    outcomes = skipped_outcomes(sweep_runs, plan)
    if wait:
        print_line("waiting; the jobs keep running if this command is stopped, and it can be started again")
        outcomes |= wait_for_jobs(sweep_runs, plan.already_submitted | new, poll_seconds)
        return print_summary(outcomes)
    outcomes |= left_outcomes(sweep_runs, plan.already_submitted)
    outcomes |= {i: Outcome(sweep_runs[i].label, "submitted", reason=f"SLURM job {s.job}") for i, s in new.items()}
    return print_summary(outcomes)


def _submit(
    sweep_runs: Sequence[SweepRun], execute: Execute, folder: Path, parameters: Mapping[str, object]
) -> list[Submission]:
    """Submit all runs, and record the submission in each run's directory.

    They are one array, or several of equal length that together train `slurm_array_parallelism` runs at a time.
    """
    if not sweep_runs:
        return []
    arrays = -(-len(sweep_runs) // _max_array_size())
    lengths = _shares(len(sweep_runs), arrays)
    at_a_time: Sequence[object] = [parameters.get("slurm_array_parallelism")] * arrays
    if isinstance(at_a_time[0], int):
        at_a_time = [max(1, share) for share in _shares(at_a_time[0], arrays)]
    submissions: list[Submission] = []
    for length, parallelism in zip(lengths, at_a_time, strict=True):
        array = sweep_runs[len(submissions) : len(submissions) + length]
        of_array = {**parameters, **({"slurm_array_parallelism": parallelism} if parallelism else {})}
        submissions += _submit_array(array, execute, folder, of_array)
    return submissions


def _submit_array(
    sweep_runs: Sequence[SweepRun], execute: Execute, folder: Path, parameters: Mapping[str, object]
) -> list[Submission]:
    """Submit one array, and record the submission in each run's directory."""
    import submitit
    from submitit.core.utils import FailedJobError, FailedSubmissionError

    recorded = [each.before_submission() for each in sweep_runs]
    try:
        executor = submitit.AutoExecutor(folder / "%j", cluster="slurm", slurm_python=_PYTHON)
    except RuntimeError as error:
        raise UserError(f"{error}; submit from a machine that has SLURM's sbatch and srun") from None
    # One rank's failure ends the run, and a rank that has left does not.
    srun_args = ["--kill-on-bad-exit=1", "--wait=0"]
    if cpus := parameters.get("cpus_per_task"):
        srun_args.append(f"--cpus-per-task={cpus}")  # srun of SLURM 22.05 to 23.02 does not take it from sbatch
    executor.update_parameters(slurm_srun_args=srun_args, **parameters)
    tasks = [RunTask(execute, configuration(each.cfg), str(each.run.path) if each.run else "") for each in sweep_runs]
    try:
        with _outside_of_jobs():
            jobs = executor.submit_array(tasks)
    except (FailedJobError, FailedSubmissionError) as error:
        last_line = [line for line in str(error).splitlines() if line.strip()][-1]
        raise UserError(
            f"SLURM took no jobs: {last_line.strip()}; correct hydra.launcher's settings or, if SLURM did not answer, "
            "run the same command again later"
        ) from None
    submissions = []
    for each, job, before in zip(sweep_runs, jobs, recorded, strict=True):
        submissions.append(Submission(SLURM, job.job_id, str(job.paths.folder), job.num_tasks, **before))
        if each.run:
            write_submission(each.run.path, submissions[-1])
    print_line(f"SLURM job {jobs[0].job_id.split('_')[0]}: {len(jobs)} runs; logs in {folder}")
    return submissions


def _max_array_size() -> int:
    """Return how many runs an array may have: MaxArraySize, which the highest index must be below, else its default."""
    config = run_command("scontrol", "show", "config").stdout if shutil.which("scontrol") else ""
    match = re.search(r"^MaxArraySize\s*=\s*(\d+)", config, re.M)
    return max(1, int(match[1])) if match else 1001


def _shares(total: int, parts: int) -> list[int]:
    """Return `parts` numbers that differ by one at most and add up to `total`."""
    return [total // parts + (i < total % parts) for i in range(parts)]


@contextlib.contextmanager
def _outside_of_jobs() -> Iterator[None]:
    """Hide the settings of a SLURM job in which the launcher runs, which sbatch would prefer to ours and pass on."""
    hidden = {key: value for key, value in os.environ.items() if key.startswith(_JOBS_OWN) and key not in _CLUSTERS_OWN}
    for key in hidden:
        del os.environ[key]
    try:
        yield
    finally:
        os.environ.update(hidden)
