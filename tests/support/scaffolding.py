"""Shared by tests of all packages: the command line as a process, and run directories that no training wrote."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import warm_python

import brats_ablate
from brats_ablate.launch.sweep import run_directory
from brats_ablate.runs.directory import Coordinates, RunDirectory, RunRecord, find_runs
from brats_ablate.runs.state import RunState
from brats_ablate.runtime import signals

if TYPE_CHECKING:
    import torch
    from omegaconf import DictConfig

TIMEOUT_S = 900
"""After which a command that a test waits for has failed."""
_IMPORTABLE = [str(Path(brats_ablate.__file__).parents[1]), str(Path(__file__).parent)]


@dataclass(frozen=True)
class CommandLine:
    """`python -m brats_ablate` in a working folder: `CommandLine(tmp_path).run("job=status").stdout`.

    Args:
        folder: current directory of the processes.
        arguments: precede those of each call.
        environment: in addition to this process's own.
        program: what Python runs.
        stderr: subprocess.STDOUT for both outputs in one stream, subprocess.PIPE to have them apart.
    """

    folder: Path
    arguments: Sequence[str] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    program: Sequence[str] = ("-m", "brats_ablate")
    stderr: int = subprocess.STDOUT

    def start(self, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        """Start a process and do not wait."""
        return subprocess.Popen(
            [sys.executable, *self.program, *self.arguments, *arguments],
            cwd=self.folder,
            env=self._variables(environment),
            text=True,
            stdout=subprocess.PIPE,
            stderr=self.stderr,
            # A shell's background processes ignore Ctrl-C, and their children inherit that.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )

    def run(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a process to its end; one that starts warm if it is a module's or a script's."""
        program = self.program[1:] if self.program[0] == "-m" else self.program
        if program[0] == "-c":
            return finish(self.start(*arguments, **environment))
        line = [*program[1:], *self.arguments, *arguments]
        return warm_python.run(program[0], line, self.folder, self._variables(environment), self.stderr, TIMEOUT_S)

    def _variables(self, environment: Mapping[str, str]) -> dict[str, str]:
        path = os.pathsep.join(filter(None, [*_IMPORTABLE, os.environ.get("PYTHONPATH")]))
        return os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1", **self.environment, **environment}


FAKE_JOB = ("-m", "data=phantom", "job._target_=fake_study.train.run")


class FakeStudy(CommandLine):
    """Sweeps of `fake_study.train`, a stand-in for training; `faults` maps "experiment/fold" to what goes wrong."""

    def start(self, *arguments: str, faults: Mapping[str, str] | None = None, **environment: str) -> Any:
        return super().start(*FAKE_JOB, *arguments, FAKE_FAULTS=json.dumps(faults or {}), **environment)

    def run(self, *arguments: str, faults: Mapping[str, str] | None = None, **environment: str) -> Any:
        return super().run(*FAKE_JOB, *arguments, FAKE_FAULTS=json.dumps(faults or {}), **environment)

    def runs(self) -> list[RunDirectory]:
        return find_runs(self.folder / "work/phantom/runs")


def fake_state(run: RunDirectory) -> dict[str, Any]:
    """The checkpoint of a fake run: its steps, starts and "weights"."""
    state: dict[str, Any] = json.loads((run.path / "checkpoints" / "state.json").read_text())
    return state


def finish(process: subprocess.Popen[str], timeout_s: float = TIMEOUT_S) -> subprocess.CompletedProcess[str]:
    """Wait for a process and return its exit code and output."""
    stdout, stderr = process.communicate(timeout=timeout_s)
    return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)


def wait_until(condition: Callable[[], bool], process: subprocess.Popen[str], timeout_s: float = 300) -> None:
    """Wait for a condition while a process lives."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert process.poll() is None, process.stdout and process.stdout.read()
        assert time.monotonic() < deadline
        time.sleep(0.05)


def finished_epochs(run: RunDirectory) -> int:
    """Epochs that the run's status counts; 0 before its first start."""
    status = run.status()
    return status.epoch if status else 0


def run_at(runs: Path, name: str = "baseline", fold: int = 0, lr: float = 7e-4, seed: int = 0) -> RunDirectory:
    """The directory of a run, which need not exist."""
    return RunDirectory.at(runs, Coordinates(name, fold, lr, seed))


def write_run(
    run: RunDirectory,
    state: RunState | str = RunState.FINISHED,
    *,
    dice: Sequence[float] = (0.5,),
    epochs: int | None = None,
    reason: str | None = None,
    cases: Mapping[str, Sequence[float]] | None = None,
    et_voxels: Mapping[str, int] | None = None,
    regions: Sequence[str] = ("WT", "TC", "ET"),
    manifest: Mapping[str, Any] | None = None,
) -> RunDirectory:
    """Write a run directory by the class that training writes it with.

    Args:
        run: the directory.
        state: in its status.
        dice: mean Dice after epochs 1, 2, …
        epochs: of the whole run; None for as many as are finished.
        reason: in its status.
        cases: Dice of the regions of each case, in every epoch.
        et_voxels: voxels of ET, or else of the last region, in the reference segmentation of each case.
        regions: of the label scheme.
        manifest: added to a small one.
    """
    run.last_checkpoint.parent.mkdir(parents=True, exist_ok=True)
    sized = "ET" if "ET" in regions else regions[-1]
    for epoch, value in enumerate(dice, start=1):
        row = {"epoch": epoch, "step": 10 * epoch, "lr": run.coordinates.lr, "loss": 1 / epoch, "dice": value}
        row |= {f"dice/{region}": value for region in regions}
        run.append("metrics.jsonl", [row | {"seconds": 30.0, "seconds/validation": 10.0}])
        rows = [
            {"case": case, **dict(zip(regions, values, strict=True))}
            | ({f"{sized}_reference": et_voxels[case]} if et_voxels else {})
            for case, values in (cases or {}).items()
        ]
        if rows:
            run.append_cases(epoch, rows)
    run.write_manifest({"parameters": 1_000_000, "identity": {}, **(manifest or {})})
    run.write_status(RunRecord(RunState(state), len(dice), epochs or len(dice), max(dice, default=None), reason))
    return run


def assert_same_training(one: RunDirectory, other: RunDirectory) -> None:
    """Assert that both runs have the same weights, metrics and Dice of cases, bit for bit; times and memory aside."""
    assert_same_weights(one, other)
    expected, actual = (
        [
            {k: v for k, v in row.items() if not k.startswith(("seconds", "patches_per_second", "peak_memory"))}
            for row in run.metrics()
        ]
        for run in (one, other)
    )
    assert actual == expected
    assert other.cases() == one.cases()


def assert_same_weights(one: RunDirectory, other: RunDirectory) -> None:
    """Assert that the last checkpoints of both runs have the same weights, bit for bit."""
    import torch

    expected, actual = last_weights(one), last_weights(other)
    assert actual.keys() == expected.keys()
    for name, tensor in expected.items():
        assert torch.equal(actual[name], tensor), name


def last_weights(run: RunDirectory) -> dict[str, torch.Tensor]:
    """Return the weights of the run's last checkpoint."""
    import torch

    weights: dict[str, torch.Tensor] = torch.load(run.last_checkpoint, weights_only=True)["model"]
    return weights


def interrupted(cfg: DictConfig, step: int) -> RunDirectory:
    """Train in this process, asked to stop once `step` steps are done, and return the run."""
    import pytest

    from brats_ablate.jobs import train

    steps = iter(range(1, 10_000))
    with patch.object(signals, "stop_requested", lambda: next(steps) == step), pytest.raises(signals.Interrupted):
        train.run(cfg)
    return run_directory(cfg)


def listed_experiments(done: subprocess.CompletedProcess[str]) -> list[str]:
    """Return the experiments in the grid that `job=status` printed, in its order."""
    assert done.returncode == 0, done.stdout
    lines = done.stdout.splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("experiment"))
    return [line.split()[0] for line in lines[start + 1 :] if line.strip() and "run" not in line]
