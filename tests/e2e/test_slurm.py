"""Sweeps on a real SLURM: arrays, ranks on two nodes, preemption, time-out, cancellation, failure, resubmission.

Needs a cluster of two nodes that SLURM_CONF names, with partitions `low` (default, preempted with requeue) and `high`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from brats_ablate.launch.submission import read_submission, slurm_states
from brats_ablate.runs.directory import RunDirectory, find_runs

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif("SLURM_CONF" not in os.environ, reason="SLURM_CONF names no cluster"),
]
ROOT = Path(__file__).parents[2]
FAKE = "job._target_=fake_study.train.run"
SLURM = ("hydra/launcher=slurm", "hydra.launcher.poll_seconds=1")
TINY = (
    "trainer=cpu", "encoder.channels=[8,16,16]", "encoder.width=1.0", "patches.shape=[32,32,32]",
    "trainer.precision=fp32", "trainer.crops_per_case=2", "trainer.validate_every=4",
)  # fmt: skip


class Study:
    """A working folder, and the program run in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def start(self, *arguments: str, faults: dict[str, str] | None = None) -> subprocess.Popen[str]:
        environment = os.environ | {
            "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT / "tests" / "launch")]),
            "OMP_NUM_THREADS": "1",
            "FAKE_FAULTS": json.dumps(faults or {}),
        }
        command = [sys.executable, "-m", "brats_ablate", *arguments, "data=phantom"]
        return subprocess.Popen(
            command, cwd=self.folder, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )

    def run(self, *arguments: str, faults: dict[str, str] | None = None) -> tuple[int, str]:
        process = self.start(*arguments, faults=faults)
        text, _ = process.communicate(timeout=500)
        return process.returncode, text

    def runs(self, folder: str = "work/phantom/runs") -> list[RunDirectory]:
        return find_runs(self.folder / folder)

    def job(self, run: RunDirectory) -> str:
        found = read_submission(run.path)
        assert found is not None
        return found.job

    def requeues(self, run: RunDirectory) -> int:
        found = read_submission(run.path)
        assert found is not None
        return found.requeues


@pytest.fixture
def study(tmp_path: Path) -> Study:
    return Study(tmp_path)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    """Overrides that name a prepared cohort for real training."""
    folder = tmp_path_factory.mktemp("cohort")
    made = ("data.phantom.cases=6", "data.phantom.shape=[40,48,36]", "data.n_folds=3")
    code, text = Study(folder).run("job=prepare", *made)
    assert code == 0, text
    return (*made, f"paths.prepared={folder / 'work/phantom/prepared'}")


def wait_until(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 200
    while not condition():
        assert process.poll() is None, process.stdout and process.stdout.read()
        assert time.monotonic() < deadline
        time.sleep(0.1)


def finished_epochs(runs: list[RunDirectory]) -> list[int]:
    return [status.epoch if (status := run.status()) else 0 for run in runs]


def chain(run: RunDirectory) -> dict[str, Any]:
    return json.loads((run.path / "checkpoints" / "state.json").read_text())


def assert_same_weights(one: RunDirectory, other: RunDirectory) -> None:
    import torch

    a, b = (torch.load(run.last_checkpoint, weights_only=True)["model"] for run in (one, other))
    assert a.keys() == b.keys()
    for name in a:
        assert torch.equal(a[name], b[name]), name


def preempt(nodes: int = 2) -> None:
    """A job of the `high` partition that wants whole nodes."""
    subprocess.run(["srun", "-p", "high", f"-N{nodes}", f"-n{nodes}", "--exclusive", "sleep", "1"], check=True)


def test_a_sweep_is_one_array_and_a_finished_sweep_submits_nothing(study: Study) -> None:
    sweep = ("-m", "+experiment=baseline,ds", "fold=0,1,2,3,4", FAKE, *SLURM)
    code, text = study.run(*sweep)
    assert code == 0, text
    assert "10 runs: 10 finished" in text
    jobs = {study.job(run) for run in study.runs()}
    assert len(jobs) == 10
    assert len({job.split("_")[0] for job in jobs}) == 1

    code, text = study.run(*sweep)
    assert code == 0, text
    assert "0 of 10 runs to do" in text
    assert {study.job(run) for run in study.runs()} == jobs
    assert all(chain(run)["starts"] == 1 for run in study.runs())


def test_a_run_that_fails_by_itself_is_told_and_not_requeued(study: Study) -> None:
    faults = {"baseline/0": "raises", "baseline/1": "rank 1 raises", "baseline/2": "killed"}
    code, text = study.run(
        "-m", "+experiment=baseline", "fold=0,1,2,3", FAKE, "+job.steps=150", *SLURM, "hydra.launcher.tasks_per_node=2",
        faults=faults,
    )  # fmt: skip
    assert code == 1
    assert "4 runs: 1 finished, 3 failed" in text
    lines = {int(line.split("fold=")[1][0]): line for line in text.splitlines() if line.startswith("baseline fold=")}
    assert "the loss is not finite; lower lr" in lines[0]
    assert "the loss is not finite on rank 1; lower lr" in lines[1]
    assert "Killed" in lines[2]
    for run in study.runs():
        status = run.status()
        assert status is not None
        assert study.requeues(run) == 0
        assert status.state == ("finished" if run.coordinates.fold == 3 else "failed")


def test_cancelled_runs_are_not_requeued_and_a_second_submission_finishes_them(study: Study) -> None:
    sweep = ("-m", "+experiment=baseline,ds", "fold=0,1", FAKE, "+job.steps=400", *SLURM)
    process = study.start(*sweep)
    wait_until(lambda: len(study.runs()) == 4 and min(finished_epochs(study.runs())) >= 1, process)
    cancelled = [study.job(run) for run in study.runs()][1::2]
    subprocess.run(["scancel", *cancelled], check=True)
    text, _ = process.communicate(timeout=200)
    assert process.returncode == 1
    assert "4 runs: 2 finished, 2 interrupted" in text
    states = slurm_states()
    assert states is not None
    assert not set(cancelled) & states.keys()

    code, text = study.run(*sweep)
    assert code == 0, text
    assert "2 of 4 runs to do, 2 finished before" in text
    assert [chain(run)["starts"] for run in study.runs()] == [1, 2, 1, 2]
    assert len({chain(run)["weights"] for run in study.runs()}) == 1


def test_a_launcher_that_is_killed_is_replaced_by_the_same_command(study: Study) -> None:
    sweep = ("-m", "+experiment=baseline", "fold=0,1", FAKE, "+job.steps=300", *SLURM)
    process = study.start(*sweep)
    wait_until(lambda: len(study.runs()) == 2 and max(finished_epochs(study.runs())) >= 1, process)
    process.kill()
    process.communicate()
    code, text = study.run(*sweep)
    assert code == 0, text
    assert "0 of 2 runs to do, 2 queued or running already" in text
    assert "2 runs: 2 finished" in text
    assert [chain(run)["starts"] for run in study.runs()] == [1, 1]


@pytest.mark.parametrize("how", ["preemption", "the signal before the time limit"])
def test_an_interrupted_run_resumes_to_the_weights_of_an_uninterrupted_one(
    study: Study, prepared: tuple[str, ...], how: str
) -> None:
    sweep = ("-m", "+experiment=baseline", "fold=0,1", "trainer.epochs=8", *TINY, *prepared, *SLURM)
    process = study.start(*sweep)
    wait_until(lambda: len(study.runs()) == 2 and min(finished_epochs(study.runs())) >= 1, process)
    if how == "preemption":
        preempt()
    else:
        subprocess.run(["scancel", "--signal=USR2", *map(study.job, study.runs())], check=True)
    text, _ = process.communicate(timeout=400)
    assert process.returncode == 0, text
    assert all(study.requeues(run) >= 1 for run in study.runs())

    code, text = study.run(*sweep, "paths.runs=undisturbed")
    assert code == 0, text
    for disturbed, undisturbed in zip(study.runs(), study.runs("undisturbed"), strict=True):
        assert_same_weights(disturbed, undisturbed)
        assert [(r["epoch"], r["loss"]) for r in disturbed.metrics()] == [
            (r["epoch"], r["loss"]) for r in undisturbed.metrics()
        ]


def test_runs_longer_than_the_time_limit_are_requeued_until_they_are_finished(study: Study) -> None:
    """SLURM looks at the limits every half minute, so that the first signal comes within 30 s of work."""
    sweep = ("-m", "+experiment=baseline", "fold=0,1", FAKE, "+job.steps=2200", "+job.step_s=0.02", *SLURM)
    code, text = study.run(*sweep, "hydra.launcher.timeout_min=1", "hydra.launcher.signal_delay_s=30")
    assert code == 0, text
    states = [chain(run) for run in study.runs()]
    assert all(state["starts"] >= 2 and state["step"] == 2200 for state in states)
    assert len({state["weights"] for state in states}) == 1
    assert all(study.requeues(run) == state["starts"] - 1 for run, state in zip(study.runs(), states, strict=True))


def test_two_nodes_of_two_ranks_train_one_run_and_survive_preemption(study: Study, prepared: tuple[str, ...]) -> None:
    ranks = ("hydra.launcher.nodes=2", "hydra.launcher.tasks_per_node=2")
    sweep = ("-m", "+experiment=baseline", "fold=0", "trainer.epochs=6", *TINY, *prepared, *SLURM, *ranks)
    process = study.start(*sweep)
    wait_until(lambda: len(study.runs()) == 1 and finished_epochs(study.runs())[0] >= 1, process)
    preempt()
    text, _ = process.communicate(timeout=400)
    assert process.returncode == 0, text
    (run,) = study.runs()
    assert run.manifest()["world_size"] == 4
    assert study.requeues(run) >= 1

    code, text = study.run(*sweep, "paths.runs=undisturbed")
    assert code == 0, text
    assert_same_weights(run, study.runs("undisturbed")[0])
