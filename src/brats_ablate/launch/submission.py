"""Record of a run's submission: which job has the run, and whether that job is still queued or running.

A launcher writes `launch.json` into a run's directory when it submits the run. The same command and `job=status` find
the job by it later: a queued run is not submitted twice, and a killed launcher is replaced by starting another.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from brats_ablate.errors import ConfigError
from brats_ablate.runs.state import RunState
from brats_ablate.runtime.files import read_json, readable, write_json

SLURM, LOCAL = "slurm", "local"
_WAITING_STATES = ("PENDING", "REQUEUED", "REQUEUE_HOLD", "CONFIGURING", "SPECIAL_EXIT")
PATIENCE_S = 60.0
"""For an answer of one of the system's commands."""


@dataclass(frozen=True)
class Submission:
    """A submission of one run. `job` is SLURM's job id or, on one machine, the controlling process."""

    cluster: str
    job: str
    folder: str
    """submitit's folder of this job: logs and one result per rank."""
    ranks: int
    host: str = field(default_factory=socket.gethostname)
    started: str = ""
    """Start time of a local process, so that a reused process id is not mistaken for it."""
    devices: tuple[str, ...] = ()
    """Numbers or UUIDs; in files of earlier versions, JSON numbers."""
    status_before: str = ""
    """When the run's status was last written before this submission."""
    requeues: int = 0
    requeues_without_progress: int = 0
    """Requeues in a row without a finished epoch between them; `fruitless` in the file."""
    epoch: int = 0
    """Finished epochs at the last requeue."""
    identity: Mapping[str, Any] = field(default_factory=dict, compare=False)
    """Of the run, which records it itself only when it starts; {} in files of earlier versions."""


def read_submission(run: Path) -> Submission | None:
    """Return the last submission of the run in directory `run`; None if there was none."""
    content = read_json(run / "launch.json")
    if not content:
        return None
    with readable(run / "launch.json"):
        content["requeues_without_progress"] = content.pop("fruitless", 0)
        known = {each.name: content[each.name] for each in fields(Submission) if each.name in content}
        return Submission(**known | {"devices": tuple(map(str, content["devices"]))})


def write_submission(run: Path, submission: Submission) -> None:
    """Replace the record of the run's submission."""
    content = asdict(submission)
    content["fruitless"] = content.pop("requeues_without_progress")
    write_json(run / "launch.json", content)


def local_submission(process: int, folder: Path, ranks: int, devices: tuple[str, ...], **recorded: Any) -> Submission:
    """Return the submission of a run to process `process` of this machine; `recorded` are its further fields."""
    started = _start_time(process)
    return Submission(LOCAL, str(process), str(folder), ranks, started=started, devices=devices, **recorded)


def requeued(submission: Submission, epoch: int) -> Submission:
    """Return the submission after one more requeue, with `epoch` finished epochs by now."""
    in_a_row = submission.requeues_without_progress + 1 if epoch <= submission.epoch else 1
    return replace(submission, requeues=submission.requeues + 1, requeues_without_progress=in_a_row, epoch=epoch)


def active_states(submissions: Iterable[Submission]) -> dict[Submission, RunState | None]:
    """Return QUEUED or RUNNING for each submission whose job is queued or alive; leaves out the others.

    None: SLURM does not answer, so that its job may be either, and nothing is trained twice. A process of another
    machine counts as ended: the run's own lock guards that case.
    """
    submissions = list(submissions)
    states: dict[Submission, RunState | None] = {
        s: RunState.RUNNING for s in submissions if s.cluster == LOCAL and is_alive(s)
    }
    in_slurm = [s for s in submissions if s.cluster == SLURM]
    job_states = slurm_states(s.job for s in in_slurm)
    for submission in in_slurm:
        if job_states is None:
            states[submission] = None
        elif (job_state := job_states.get(submission.job)) is not None:
            states[submission] = RunState.QUEUED if job_state in _WAITING_STATES else RunState.RUNNING
    return states


def unanswered(run: Path, submission: Submission) -> str:
    """Return what to do about a run whose job is in a SLURM that does not answer."""
    return (
        f"SLURM does not answer here, and its job {submission.job} may have the run; if that job has ended, delete "
        f"{run / 'launch.json'}"
    )


def is_alive(submission: Submission) -> bool:
    """Return True if the controlling process of a local submission still lives on this machine."""
    is_ours = submission.host == socket.gethostname() and submission.started != ""
    return is_ours and _start_time(int(submission.job)) == submission.started


def slurm_states(jobs: Iterable[str]) -> Mapping[str, str] | None:
    """Return the state of each job that SLURM has, array tasks one by one; None if SLURM does not answer.

    They may be those of other users, who train other runs of the same study.
    """
    arrays = sorted({job.split("_")[0] for job in jobs})
    if not arrays:
        return {}
    if shutil.which("squeue") is None:
        return None
    done = run_command("squeue", "--noheader", "--array", "--format=%i|%T", f"--jobs={','.join(arrays)}")
    if "Invalid job id" in done.stderr:  # of a single job, that ended long ago; of several, those are left out
        return {}
    lines = done.stdout.splitlines()
    return None if done.returncode else dict(line.strip().split("|", 1) for line in lines if "|" in line)


def slurm_final_states(jobs: Iterable[str]) -> dict[str, str]:
    """Return the final state of each ended SLURM job (COMPLETED, CANCELLED, OUT_OF_MEMORY, …), if sacct has it."""
    job_ids = sorted(set(jobs))
    if not job_ids or shutil.which("sacct") is None:
        return {}
    done = run_command("sacct", "--noheader", "--parsable2", "--format=JobID,State", "--jobs", ",".join(job_ids))
    final_states: dict[str, str] = {}
    for line in done.stdout.splitlines():
        job_step, _, text = line.partition("|")
        job, _, step = job_step.partition(".")
        state = text.split(" ", maxsplit=1)[0]  # "CANCELLED by 1000"
        if not step or state == "OUT_OF_MEMORY":  # a step killed for memory has that state, its job is FAILED
            final_states[job] = state
    return final_states


def make_launch_folder(folder: Path) -> None:
    """Create the folder of a launch, which its owner alone can enter; one that exists keeps its permissions.

    Raises:
        ConfigError: it exists, and other users can write there, so that they could change what the jobs run.
    """
    if not folder.exists():
        folder.mkdir(mode=0o700, parents=True)
        return
    status = folder.stat()
    if status.st_uid != os.geteuid() or status.st_mode & 0o022:
        raise ConfigError(
            f"hydra.sweep.dir={folder} belongs to another user, or others can write there, and so could change what "
            "its jobs run; choose another folder, or chmod go-w"
        )


def run_command(*command: str) -> subprocess.CompletedProcess[str]:
    """Run one of the system's commands; its output is captured, its exit code not checked. It fails after 60 s.

    A user's own filters and formats of squeue and sacct do not apply, as jobs that they hide would count as ended.
    """
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("SQUEUE_", "SACCT_"))}
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False, env=environment)
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(command, 1, "", f"{command[0]} did not answer for {PATIENCE_S:g} s")


def _start_time(process: int) -> str:
    """Return the kernel's start time of a living process in ticks since boot; "" for a dead one or a zombie."""
    try:
        if not Path("/proc/self/stat").exists():
            os.kill(process, 0)
            return "unknown"
        fields = Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in "ZX" else fields[19]
