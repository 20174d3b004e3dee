"""A small sweep that is killed twenty times, on a small disk that fills up twice, ends with undisturbed tables."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hardware import needs_fast_cpu
from scaffolding import assert_same_training, finish, finished_epochs

from brats_ablate.runs.directory import find_runs

pytestmark = [pytest.mark.slow(minutes=4), needs_fast_cpu]
KILLS = 20
IN_WRITES = {4: "fsync", 8: "replace", 12: "fsync", 16: "replace"}
"""Kills that a training process does itself, at its next call of this function."""
FULL_DISKS = (6, 14)
"""Numbers of kills after which the disk is full for some seconds."""
DISK_MIB = 64
PACE = 6
"""Every second kill waits until the four runs have finished this many more epochs, which it finds in training; the other
follows it by seconds, while processes start and resume. So the kills spread over the runs on a machine of any speed."""
SWEEP = (
    "+experiment=baseline,ds", "fold=0,1", "trainer.epochs=36", "validation.every=9", "trainer.checkpoint_minutes=0.002",
    "hydra/launcher=submitit_local", "hydra.launcher.max_parallel=2", "hydra.launcher.poll_seconds=0.2",
)  # fmt: skip


def processes(token: str) -> list[int]:
    """Return every living process that was started, directly or not, with CHAOS=token in its environment."""
    alive = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if f"CHAOS={token}\0".encode() in (folder / "environ").read_bytes() + b"\0":
                alive.append(int(folder.name))
        except OSError:
            continue
    return alive


def kill_one(draw: random.Random, token: str) -> bool:
    """kill −9 a random one of them: a launcher, a controlling process or a training process."""
    alive = sorted(processes(token))
    if not alive:
        return False
    try:
        os.kill(draw.choice(alive), signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of `DISK_MIB`."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ("mount", "-t", "tmpfs", "-o", f"size={DISK_MIB}m", "tmpfs", str(folder))
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("cannot mount a small file system here")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(disk: Path, seconds: float) -> None:
    """Leave no byte of a disk free for some seconds."""
    with contextlib.suppress(OSError), (disk / "filler").open("wb", buffering=0) as stream:
        while True:
            stream.write(bytes(4096))
    time.sleep(seconds)
    (disk / "filler").unlink()


def kill_in_write(kills: Path, call: str) -> bool:
    """Let a training process kill itself at its next `call`; return False if none makes it for a minute."""
    (kills / call).touch()
    deadline = time.monotonic() + 60
    while (kills / call).exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    was_killed = not (kills / call).exists()
    (kills / call).unlink(missing_ok=True)
    return was_killed


def epochs(runs: Path) -> int:
    return sum(map(finished_epochs, find_runs(runs)))


def finished(runs: Path) -> int:
    return sum(run.is_finished() for run in find_runs(runs))


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="finds its processes in /proc")
def test_twenty_kills_and_full_disks_change_nothing(
    launch: Callable[..., subprocess.Popen[str]], work: Path, small_disk: Path
) -> None:
    undisturbed, disturbed = work / "undisturbed", small_disk / "runs"
    kills_in_writes = work / "kills"
    kills_in_writes.mkdir()
    done = finish(launch(*SWEEP, f"paths.runs={undisturbed}", "-m"))
    assert done.returncode == 0, done.stdout

    draw, token, kills, full = random.Random(12345), str(work), 0, 0
    on_disk = (f"paths.runs={disturbed}", f"hydra.sweep.dir={small_disk}/launch", "job._target_=chaos.train.run")
    log = (work / "launchers.log").open("w")

    def launch_again() -> subprocess.Popen[str]:
        process = launch(*SWEEP, *on_disk, "-m", CHAOS=token, CHAOS_KILLS=str(kills_in_writes))
        assert process.stdout is not None
        threading.Thread(target=lambda: log.writelines(process.stdout), daemon=True).start()
        return process

    launcher = launch_again()
    deadline = time.monotonic() + 900
    while kills < KILLS:
        time.sleep(draw.uniform(0.5, 3.0) if kills % 2 else draw.uniform(0.0, 0.5))
        assert time.monotonic() < deadline, (work / "launchers.log").read_text()
        assert finished(disturbed) < 4, f"all finished after {kills} kills; make the runs longer"
        if kills in FULL_DISKS[full:]:
            full += 1
            fill(small_disk, draw.uniform(3.0, 6.0))
        if kills in IN_WRITES:
            kills += kill_in_write(kills_in_writes, IN_WRITES[kills])
        elif kills % 2 or epochs(disturbed) >= PACE * (kills // 2 + 1):
            kills += kill_one(draw, token)
        if launcher.poll() is not None:
            launcher = launch_again()
    deadline = time.monotonic() + 900
    while finished(disturbed) < 4:
        assert time.monotonic() < deadline, (work / "launchers.log").read_text()
        if launcher.poll() is not None:
            launcher = launch_again()
        time.sleep(0.5)
    launcher.wait(timeout=60)
    assert full == len(FULL_DISKS)

    for one, other in zip(find_runs(undisturbed), find_runs(disturbed), strict=True):
        assert_same_training(one, other)
    tables = []
    for runs in (undisturbed, disturbed):
        done = finish(launch("job=tables", "job.tables=[demo]", f"paths.runs={runs}", f"paths.tables={runs}-tables"))
        assert done.returncode == 0, done.stdout
        tables.append((Path(f"{runs}-tables") / "cases.csv").read_bytes())
    assert tables[0] == tables[1]
