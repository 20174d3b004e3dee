"""What each rank of a submitted job does: join its peers, run the job, and on interruption ask for a requeue.

submitit starts one process per rank with this callable. An interrupted training run has saved its exact state when it
returns; then the first rank requeues the job. A run that failed by itself is not requeued: its rank ends with an error,
and the reason stands in the run's status.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from brats_ablate.errors import UserError
from brats_ablate.launch.logs import complaint, failed_rank
from brats_ablate.launch.submission import read_submission, requeued, write_submission
from brats_ablate.runs.directory import FAILED, RunDirectory, RunRecord
from brats_ablate.runtime import signals

_MAX_FRUITLESS_REQUEUES = 5


class TaskFailed(Exception):
    """A rank ended with an exit code other than 0; what went wrong is in its log."""


@dataclass(frozen=True)
class RunTask:
    """One run as a submitit callable.

    `configuration` is the resolved configuration as YAML; `run` the run's directory, "" for other jobs than training.
    """

    configuration: str
    run: str

    def __call__(self) -> int:
        """Run the job in this rank. Raises TaskFailed unless the exit code is 0, SystemExit if it was interrupted."""
        import submitit
        from omegaconf import DictConfig, OmegaConf

        from brats_ablate.jobs.execute import execute

        environment = submitit.JobEnvironment()
        _describe_ranks(environment)
        if self.run:
            signals.install_handlers()  # instead of submitit's own handlers, which would end the process in mid-step
        configuration = OmegaConf.create(self.configuration)
        assert isinstance(configuration, DictConfig)
        code = execute(configuration)
        if code == signals.EXIT_CODE:
            self._after_interruption(environment)
        if code != 0:
            raise TaskFailed(f"rank {environment.global_rank} ended with exit code {code}")
        return code

    def checkpoint(self) -> Any:
        """Submitit's hook for jobs other than training: started again, they skip what is done."""
        import submitit

        return submitit.helpers.DelayedSubmission(self)

    def _after_interruption(self, environment: Any) -> None:
        """Requeue if it was preemption or the time limit. Leaves no result, so that the job does not count as done."""
        if environment.name() != "slurm":
            raise SystemExit(signals.EXIT_CODE)
        if environment.global_rank != 0:
            raise SystemExit(0)  # a code other than 0 would make srun kill rank 0 before it has requeued
        other = failed_rank(Path(environment.paths.folder), environment.job_id, environment.num_tasks)
        if other is not None:
            said = complaint(Path(environment.paths.folder), environment.job_id, other)
            self._fail(f"rank {other}: {said}")
            raise TaskFailed(f"rank {other} failed")
        ticket = read_submission(Path(self.run))
        if ticket is not None:
            status = RunDirectory(Path(self.run)).status()
            ticket = requeued(ticket, status.epoch if status else 0)
            write_submission(Path(self.run), ticket)
            if ticket.fruitless > _MAX_FRUITLESS_REQUEUES:
                self._fail(f"interrupted {ticket.fruitless} times in a row without finishing an epoch")
                raise TaskFailed("interrupted too often")
        if _slurm_job_is_running(environment.job_id):
            ended = threading.Event()
            signal.signal(signal.SIGTERM, lambda *_: ended.set())
            _requeue(environment.job_id)
            # A process that leaves before SLURM ends it could let the job complete before it is requeued.
            ended.wait(60)
        raise SystemExit(signals.EXIT_CODE)

    def _fail(self, reason: str) -> None:
        run = RunDirectory(Path(self.run))
        found = run.status() or RunRecord(FAILED)
        if found.state == FAILED and found.reason:
            return  # the rank that failed has said why
        run.write_status(RunRecord(FAILED, found.epoch, found.epochs, found.best, reason))


def _describe_ranks(environment: Any) -> None:
    """Set RANK, WORLD_SIZE, … from the scheduler's tasks, as torchrun would; nothing for a single task."""
    import submitit

    if environment.num_tasks == 1:
        return
    described = submitit.helpers.TorchDistributedEnvironment()
    if environment.num_nodes == 1:
        described.master_addr = "127.0.0.1"  # a host's own name does not resolve everywhere
    described.export(set_cuda_visible_devices=False, overwrite=True)  # LOCAL_RANK chooses among the job's devices


def _slurm_job_is_running(job: str) -> bool:
    """False for a job that is being cancelled: SLURM would let us requeue that one too."""
    command = ["squeue", "--noheader", "--jobs", job, "--format=%T"]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    return answer.returncode != 0 or answer.stdout.strip() in ("RUNNING", "PREEMPTED", "SUSPENDED")


def _requeue(job: str) -> None:
    """`scontrol requeue` in a child that ignores SIGTERM, which the requeue sends to every process of the job."""
    command = ["sh", "-c", 'trap "" TERM; exec scontrol requeue "$0"', job]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=dict(os.environ))
    if answer.returncode != 0:
        raise UserError(f"scontrol requeue {job} failed: {answer.stderr.strip()}; the same command continues the run")
    print(f"saved; SLURM job {job} is requeued", file=sys.stderr, flush=True)
