"""What the tests of sweeps need: a working folder, and the program run in it with a stand-in for training."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from brats_ablate.runs.directory import RunDirectory, find_runs

ROOT = Path(__file__).parents[2]


class FakeStudy:
    """A working folder, and sweeps of the stand-in for training run in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def start(self, *arguments: str, faults: dict[str, str] | None = None, **variables: str) -> subprocess.Popen[str]:
        environment = os.environ | {
            "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT / "tests" / "launch")]),
            "FAKE_FAULTS": json.dumps(faults or {}),
            **variables,
        }
        command = [sys.executable, "-m", "brats_ablate", "-m", *arguments]
        command += ["data=phantom", "job._target_=fake_study.train.run"]
        return subprocess.Popen(
            command,
            cwd=self.folder,
            env=environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            # What a shell starts in the background ignores Ctrl-C, and so would its children.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )

    def run(self, *arguments: str, faults: dict[str, str] | None = None, **variables: str) -> tuple[int, str]:
        process = self.start(*arguments, faults=faults, **variables)
        text, _ = process.communicate(timeout=120)
        return process.returncode, text

    def runs(self) -> list[RunDirectory]:
        return find_runs(self.folder / "work/phantom/runs")

    def state(self, run: RunDirectory) -> dict[str, object]:
        return json.loads((run.path / "checkpoints" / "state.json").read_text())

    def wait_until(self, condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
        deadline = time.monotonic() + 60
        while not condition():
            assert process.poll() is None, process.stdout and process.stdout.read()
            assert time.monotonic() < deadline
            time.sleep(0.05)


@pytest.fixture
def fake_study(tmp_path: Path) -> FakeStudy:
    return FakeStudy(tmp_path)
