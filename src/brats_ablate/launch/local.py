"""Run a sweep on one machine: several runs at a time, each with its own devices, by submitit's local executor.

Each run has its own process: it outlives the launcher, and the same command finds it again. Ctrl-C makes every
active run save and stop.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from brats_ablate.errors import ConfigError, UserError
from brats_ablate.launch.outcome import (
    Outcome,
    ended_outcomes,
    left_outcomes,
    print_plan,
    print_summary,
    skipped_outcomes,
)
from brats_ablate.launch.submission import SLURM, Submission, is_alive, local_submission, write_submission
from brats_ablate.launch.sweep import SweepRun, configuration, plan_sweep, submission_lock
from brats_ablate.launch.time_left import SweepClock
from brats_ablate.launch.worker import Execute, RunTask
from brats_ablate.runtime.output import print_line
from brats_ablate.runtime.signals import EXIT_CODE
from brats_ablate.runtime.workers import available_cores

Slot = tuple[str, ...]
"""The devices of one run, as CUDA_VISIBLE_DEVICES names them; () for the CPU."""
_NO_LIMIT_MINUTES = 60 * 24 * 365


def make_slots(devices: Sequence[str], devices_per_run: int) -> list[Slot]:
    """Return the devices of each concurrent run; no device occurs twice.

    Raises:
        ConfigError: there are too few devices for one run, or a device is named twice.
    """
    shown = f"[{','.join(devices)}]"
    if not devices:
        raise ConfigError(
            "hydra/launcher=local_gpus finds no GPU; check nvidia-smi -L and CUDA_VISIBLE_DEVICES, or use "
            "hydra/launcher=submitit_local for the CPU"
        )
    if not 1 <= devices_per_run <= len(devices):
        raise ConfigError(
            f"hydra.launcher.devices_per_run={devices_per_run} does not fit into devices {shown}; "
            "lower it, set hydra.launcher.devices, or use hydra/launcher=submitit_local for the CPU"
        )
    if len(set(devices)) != len(devices):
        raise ConfigError(f"devices {shown} name one twice; name each once, in hydra.launcher.devices")
    n = devices_per_run
    return [tuple(devices[i : i + n]) for i in range(0, len(devices) - n + 1, n)]


def launch(
    sweep_runs: Sequence[SweepRun],
    execute: Execute,
    folder: Path,
    slots: Sequence[Slot],
    ranks: int,
    poll_seconds: float,
) -> int:
    """Run what is not done, one run per slot, follow what an earlier launcher started, and return the exit code.

    A run that SLURM has is left to it.

    Raises:
        ConfigError: a run exists with a different configuration.
        KeyboardInterrupt: after a second Ctrl-C; the runs continue to save and stop.
    """
    with submission_lock(sweep_runs):
        plan = plan_sweep(sweep_runs)
        print_plan(plan, len(sweep_runs))
    in_slurm = {i: s for i, s in plan.already_submitted.items() if s.cluster == SLURM}
    outcomes = skipped_outcomes(sweep_runs, plan) | left_outcomes(sweep_runs, in_slurm)
    running = {i: s for i, s in plan.already_submitted.items() if i not in in_slurm}
    to_start = list(plan.to_submit)
    at_a_time = min(len(slots), len(running) + len(to_start))
    processes = at_a_time * max(ranks, *(int(each.cfg.trainer.devices) for each in sweep_runs))
    stopped, code = False, 0
    clock = SweepClock(sweep_runs)
    while to_start or running:
        try:
            while to_start and (slot := _free_slot(slots, running)) is not None:
                i = to_start.pop(0)
                with submission_lock([sweep_runs[i]]):
                    try:
                        plan = plan_sweep([sweep_runs[i]])  # another launcher may have submitted the run meanwhile
                    except UserError as error:
                        outcomes[i] = Outcome.refused(sweep_runs[i].label, error)
                        code = max(code, error.exit_code)
                        continue
                    if plan.to_submit:
                        running[i] = _start(sweep_runs[i], execute, folder, slot, ranks, processes)
                for submission in plan.already_submitted.values():
                    if submission.cluster == SLURM:
                        outcomes |= left_outcomes(sweep_runs, {i: submission})
                    else:
                        running[i] = submission
                outcomes.update((i, o) for o in skipped_outcomes([sweep_runs[i]], plan).values())
            ended = {i: s for i, s in running.items() if not is_alive(s)}
            for i, each in ended_outcomes(sweep_runs, ended).items():
                del running[i]
                outcomes[i] = each
                line = f"{time.strftime('%H:%M:%S')}  {each.label}: {each.result} {each.reason}".rstrip()
                print_line(f"{line}{clock.text([*running, *to_start])}")
            if clock.is_due and (left := clock.text([*running, *to_start])):
                print_line(f"{time.strftime('%H:%M:%S')}{left}")
            if running:
                time.sleep(poll_seconds)
        except KeyboardInterrupt:
            if stopped:
                raise
            stopped = True
            to_start.clear()
            _stop(running.values())
    code = max(code, print_summary(outcomes))
    if not stopped:
        return code
    print_line("interrupted; run the same command again to resume")
    return EXIT_CODE


def _free_slot(slots: Sequence[Slot], running: Mapping[int, Submission]) -> Slot | None:
    """Return a slot none of whose devices is in use; CPU slots are counted."""
    if len(running) >= len(slots):
        return None
    busy = {device for submission in running.values() for device in submission.devices}
    return next((slot for slot in slots if not busy & set(slot)), None)


def _start(each: SweepRun, execute: Execute, folder: Path, slot: Slot, ranks: int, processes: int) -> Submission:
    import submitit

    recorded = each.before_submission()
    executor = submitit.LocalExecutor(folder / "%j")
    executor.update_parameters(timeout_min=_NO_LIMIT_MINUTES, tasks_per_node=ranks, gpus_per_node=len(slot))
    executor.parameters["visible_gpus"] = slot  # update_parameters accepts numbers only, but any name is passed on
    with _ignoring_terminal_signals(), _sharing_cores(processes):
        job = executor.submit(RunTask(execute, configuration(each.cfg), str(each.run.path) if each.run else ""))
    submission = local_submission(int(job.job_id), job.paths.folder, ranks, slot, **recorded)
    if each.run:
        write_submission(each.run.path, submission)
    on = f" on device {','.join(map(str, slot))}" if slot else ""
    print_line(f"{time.strftime('%H:%M:%S')}  {each.label}: started{on}, logs in {job.paths.folder}")
    return submission


@contextlib.contextmanager
def _ignoring_terminal_signals() -> Iterator[None]:
    """Start child processes that ignore SIGINT and SIGHUP; an ignored signal is inherited."""
    handlers = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _sharing_cores(processes: int) -> Iterator[None]:
    """Start child processes that compute on an equal share of the cores, unless the user has set OMP_NUM_THREADS.

    Each would otherwise start as many threads as the machine has cores.
    """
    if os.environ.get("OMP_NUM_THREADS") or processes == 1:
        yield
        return
    os.environ["OMP_NUM_THREADS"] = str(max(1, available_cores() // processes))
    try:
        yield
    finally:
        del os.environ["OMP_NUM_THREADS"]


def _stop(running: Iterable[Submission]) -> None:
    print_line("\nsaving and stopping the active runs; press Ctrl-C again to leave them running")
    for submission in running:
        if is_alive(submission):
            os.kill(int(submission.job), signal.SIGTERM)  # the controlling process passes it on to every rank
