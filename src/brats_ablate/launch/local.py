"""Runs a sweep on one machine: several runs at a time, each with its own devices, by submitit's local executor.

A run is a process of its own: it outlives the launcher, and the same command finds it again. Ctrl-C asks every running
run to save and stop.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from brats_ablate.errors import ConfigError
from brats_ablate.launch import watch
from brats_ablate.launch.outcome import Outcome
from brats_ablate.launch.submission import Submission, is_alive, local_submission, write_submission
from brats_ablate.launch.sweep import SweepRun, one_launcher_at_a_time, select
from brats_ablate.launch.worker import RunTask

Slot = tuple[int, ...]
"""The devices that one run gets; () for the CPU."""
_NO_LIMIT_MINUTES = 60 * 24 * 365


def visible_devices() -> list[int]:
    """The machine's GPUs, or those that CUDA_VISIBLE_DEVICES leaves."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        try:
            return [int(number) for number in visible.split(",") if number.strip()]
        except ValueError:
            raise ConfigError(
                f"CUDA_VISIBLE_DEVICES={visible} must be numbers; or set hydra.launcher.devices"
            ) from None
    if shutil.which("nvidia-smi") is None:
        return []
    answer = subprocess.run(["nvidia-smi", "--list-gpus"], capture_output=True, text=True, timeout=60, check=False)
    return list(range(sum(line.startswith("GPU ") for line in answer.stdout.splitlines())))


def slots_of(devices: Sequence[int], devices_per_run: int) -> list[Slot]:
    """Devices dealt to concurrent runs, no device twice. Raises ConfigError if not even one run has enough."""
    if not 1 <= devices_per_run <= len(devices):
        raise ConfigError(
            f"hydra.launcher.devices_per_run={devices_per_run} does not fit into devices {list(devices)}; "
            "lower it, set hydra.launcher.devices, or take hydra/launcher=submitit_local for the CPU"
        )
    if len(set(devices)) != len(devices):
        raise ConfigError(f"hydra.launcher.devices={list(devices)} names a device twice; name each once")
    n = devices_per_run
    return [tuple(devices[i : i + n]) for i in range(0, len(devices) - n + 1, n)]


def launch(
    works: Sequence[SweepRun], folder: Path, slots: Sequence[Slot], ranks: int, poll_seconds: float
) -> tuple[dict[int, Outcome], int]:
    """Run what is due, one run a slot, and follow what an earlier launcher started; returns outcomes and exit code.

    Raises:
        ConfigError: a run exists under another configuration.
        KeyboardInterrupt: after Ctrl-C, when every run has saved and stopped.
    """
    with one_launcher_at_a_time(works):
        selection = select(works)
        watch.announce(selection, len(works))
    outcomes = watch.untouched(works, selection)
    running: dict[int, Submission] = dict(selection.attached)
    due = list(selection.due)
    stopped = False
    while due or running:
        try:
            while due and (slot := _free_slot(slots, running)) is not None:
                # Two launchers may want the same run: look again, holding the lock.
                i = due.pop(0)
                with one_launcher_at_a_time([works[i]]):
                    again = select([works[i]])
                    if again.due:
                        running[i] = _start(works[i], folder, slot, ranks)
                if again.attached:
                    running[i] = again.attached[0]
                outcomes.update((i, o) for o in watch.untouched([works[i]], again).values())
            ended = {i: t for i, t in running.items() if not is_alive(t)}
            for i, each in watch.ended(works, ended).items():
                del running[i]
                outcomes[i] = each
                print(f"{time.strftime('%H:%M:%S')}  {each.label}: {each.what} {each.reason}".rstrip(), flush=True)
            if running:
                time.sleep(poll_seconds)
        except KeyboardInterrupt:
            if stopped:
                raise
            stopped = True
            due.clear()
            _stop(running)
    code = watch.conclude(outcomes)
    if stopped:
        raise KeyboardInterrupt
    return outcomes, code


def _free_slot(slots: Sequence[Slot], running: dict[int, Submission]) -> Slot | None:
    """A slot none of whose devices is in use; CPU slots are counted."""
    if len(running) >= len(slots):
        return None
    busy = {device for ticket in running.values() for device in ticket.devices}
    return next((slot for slot in slots if not busy & set(slot)), None)


def _start(each: SweepRun, folder: Path, slot: Slot, ranks: int) -> Submission:
    import submitit

    status = each.run.status() if each.run else None
    executor = submitit.LocalExecutor(folder / "%j")
    executor.update_parameters(
        timeout_min=_NO_LIMIT_MINUTES, tasks_per_node=ranks, gpus_per_node=len(slot), visible_gpus=slot
    )
    with _deaf_children():
        job = executor.submit(RunTask(each.configuration, str(each.run.path) if each.run else ""))
    ticket = local_submission(int(job.job_id), job.paths.folder, ranks, slot, status.updated if status else "")
    if each.run:
        write_submission(each.run.path, ticket)
    on = f" on device {','.join(map(str, slot))}" if slot else ""
    print(f"{time.strftime('%H:%M:%S')}  {each.label}: started{on}, logs in {job.paths.folder}", flush=True)
    return ticket


@contextlib.contextmanager
def _deaf_children() -> Iterator[None]:
    """Processes started inside do not hear the terminal's Ctrl-C or its end (an ignored signal is inherited)."""
    kept = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)


def _stop(running: dict[int, Submission]) -> None:
    print("\nsaving and stopping the running runs; Ctrl-C again leaves them alone", flush=True)
    for ticket in running.values():
        if is_alive(ticket):
            os.kill(int(ticket.job), signal.SIGTERM)  # the controlling process passes it on to every rank
