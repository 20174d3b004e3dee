"""What each rank of a submitted job runs: set up the ranks, run the job, requeue it after an interruption.

submitit starts one process per rank with a `RunTask`. An interrupted training run has saved its exact state when it
returns; then the first rank requeues the job. A run that failed because of an error of its own is not requeued: its
rank ends with an error, and the reason is in the run's status.
"""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from omegaconf import DictConfig, OmegaConf

from brats_ablate.errors import UserError
from brats_ablate.launch.logs import first_failure
from brats_ablate.launch.submission import read_submission, requeued, run_command, write_submission
from brats_ablate.runs.directory import RunDirectory, RunRecord
from brats_ablate.runs.state import RunState
from brats_ablate.runtime import signals

if TYPE_CHECKING:
    from submitit import JobEnvironment
    from submitit.helpers import DelayedSubmission

_MAX_REQUEUES_WITHOUT_PROGRESS = 5
_TRIES_TO_REQUEUE, SECONDS_BETWEEN_TRIES = 3, 5.0

Execute = Callable[[DictConfig], int]
"""Runs the job of a configuration and returns the exit code; a function of a module, so that it can be pickled."""


class TaskFailed(Exception):
    """A rank ended with an exit code other than 0; the reason is in its log."""


@dataclass(frozen=True)
class RunTask:
    """One run of a sweep as a submitit callable.

    Args:
        execute: runs the job.
        configuration: resolved, as YAML.
        run: the run's directory, "" for a job other than training.
    """

    execute: Execute
    configuration: str
    run: str

    def __call__(self) -> int:
        """Run the job in this rank and return 0.

        Raises:
            TaskFailed: the exit code is another one.
            SystemExit: the run was interrupted.
        """
        import submitit

        environment = submitit.JobEnvironment()
        _export_ranks(environment.num_tasks, environment.num_nodes)
        if self.run:
            signals.install_handlers()  # in place of submitit's handlers, which end the process in mid-step
        cfg = OmegaConf.create(self.configuration)
        assert isinstance(cfg, DictConfig)
        code = self.execute(cfg)
        if code == signals.EXIT_CODE:
            requeue_interrupted(environment, RunDirectory(Path(self.run)))
        if code != 0:
            raise TaskFailed(f"rank {environment.global_rank} ended with exit code {code}")
        return code

    def checkpoint(self) -> DelayedSubmission:
        """Requeue a job other than training: submitit's hook. Started again, such a job skips what is done."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


def requeue_interrupted(environment: JobEnvironment, run: RunDirectory) -> NoReturn:
    """Requeue the SLURM job of a run that was interrupted by preemption or the time limit, then leave the process.

    Raises:
        SystemExit: always without a submitit result, so that the job does not count as done.
        TaskFailed: another rank failed, or the run was interrupted too often without finishing an epoch.
    """
    if environment.name() != "slurm":
        raise SystemExit(signals.EXIT_CODE)
    if environment.global_rank != 0:
        raise SystemExit(0)  # any other code would make srun kill rank 0 before it has requeued the job
    failure = first_failure(Path(environment.paths.folder), environment.job_id, environment.num_tasks)
    if failure is not None:
        _write_failure(run, f"rank {failure[0]}: {failure[1]}")
        raise TaskFailed(f"rank {failure[0]} failed")
    submission = read_submission(run.path)
    if submission is not None:
        status = run.status()
        submission = requeued(submission, status.epoch if status else 0)
        write_submission(run.path, submission)
        times = submission.requeues_without_progress
        if times > _MAX_REQUEUES_WITHOUT_PROGRESS:
            _write_failure(run, f"interrupted {times} times in a row without finishing an epoch")
            raise TaskFailed("interrupted too often")
    if _job_is_running(environment.job_id):
        terminated = threading.Event()
        signal.signal(signal.SIGTERM, lambda *_: terminated.set())
        _requeue(environment.job_id)
        terminated.wait(60)  # a process that exits before SLURM ends it could complete the job before it is requeued
    raise SystemExit(signals.EXIT_CODE)


def _write_failure(run: RunDirectory, reason: str) -> None:
    before = run.status() or RunRecord(RunState.FAILED)
    if before.state != RunState.FAILED or not before.reason:  # else the failed rank has recorded its own reason
        run.write_status(replace(before, state=RunState.FAILED, reason=reason))


def _export_ranks(tasks: int, nodes: int) -> None:
    """Set RANK, WORLD_SIZE, … from the scheduler's tasks, as torchrun does; nothing for a single task."""
    if tasks == 1:
        return
    from submitit.helpers import TorchDistributedEnvironment

    ranks = TorchDistributedEnvironment()
    if nodes == 1:
        ranks.master_addr = "127.0.0.1"  # a host's own name does not resolve everywhere
    ranks.export(set_cuda_visible_devices=False, overwrite=True)  # LOCAL_RANK selects one of the job's devices


def _job_is_running(job: str) -> bool:
    """Return False for a job that is being canceled, which SLURM would requeue as well."""
    done = run_command("squeue", "--noheader", "--jobs", job, "--format=%T")
    return done.returncode != 0 or done.stdout.strip() in ("RUNNING", "PREEMPTED", "SUSPENDED")


def _requeue(job: str) -> None:
    """Run `scontrol requeue` in a child that ignores SIGTERM, which the requeue sends to every process of the job."""
    for left in reversed(range(_TRIES_TO_REQUEUE)):  # a busy controller answers late, or not at all
        done = run_command("sh", "-c", 'trap "" TERM; exec scontrol requeue "$0"', job)
        if done.returncode == 0:
            break
        if not left:
            error = done.stderr.strip()
            raise UserError(f"scontrol requeue {job} failed ({error}); run the same command again to resume")
        time.sleep(SECONDS_BETWEEN_TRIES)
    print(f"checkpoint saved; SLURM job {job} is requeued", file=sys.stderr, flush=True)
