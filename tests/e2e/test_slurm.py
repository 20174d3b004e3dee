"""Sweeps on a real SLURM: arrays, ranks on two nodes, preemption, time-out, cancellation, failure, resubmission.

Needs a cluster of two nodes that SLURM_CONF names, with partitions `low` (default, preempted with requeue) and `high`.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest
from scaffolding import (
    CommandLine,
    FakeStudy,
    assert_same_weights,
    fake_state,
    finish,
    finished_epochs,
    wait_until,
)

from brats_ablate.launch.submission import Submission, read_submission, slurm_states
from brats_ablate.runs.directory import RunDirectory, find_runs

pytestmark = [
    pytest.mark.slow(minutes=7),
    pytest.mark.skipif("SLURM_CONF" not in os.environ, reason="SLURM_CONF names no cluster"),
]
SLURM = ("hydra/launcher=slurm", "hydra.launcher.poll_seconds=1")
COHORT = ("data=phantom", "data.phantom.cases=6", "data.phantom.shape=[40,48,36]", "data.n_folds=3")
INTERRUPTED = ("+experiment=baseline", "fold=0,1", "trainer.epochs=8")
TINY = (
    "trainer=cpu", "encoder.channels=[8,16,16]", "encoder.width=1.0", "patches.shape=[32,32,32]",
    "trainer.precision=fp32", "trainer.crops_per_case=2", "validation.every=4",
)  # fmt: skip


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prepared cohort for real training."""
    folder = tmp_path_factory.mktemp("cohort")
    done = CommandLine(folder).run("job=prepare", *COHORT)
    assert done.returncode == 0, done.stdout
    return folder / "work/phantom/prepared"


@pytest.fixture
def study(tmp_path: Path, prepared: Path) -> CommandLine:
    """Sweeps of real training on the prepared cohort."""
    return CommandLine(tmp_path, ("-m", *COHORT, *TINY, *SLURM, f"paths.prepared={prepared}"))


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, prepared: Path) -> CommandLine:
    """The sweep of the interrupted runs in one process, without SLURM."""
    study = CommandLine(tmp_path_factory.mktemp("undisturbed"), ("-m", *COHORT, *TINY, f"paths.prepared={prepared}"))
    done = study.run(*INTERRUPTED)
    assert done.returncode == 0, done.stdout
    return study


def runs_of(study: CommandLine, folder: str = "work/phantom/runs") -> list[RunDirectory]:
    return find_runs(study.folder / folder)


def submission(run: RunDirectory) -> Submission:
    return read_submission(run.path)


def job(run: RunDirectory) -> str:
    return submission(run).job


def have_finished_an_epoch(runs: Sequence[RunDirectory], count: int) -> bool:
    return len(runs) == count and min(map(finished_epochs, runs)) >= 1


def preempt(nodes: int = 2) -> None:
    """Run a job of the `high` partition on whole nodes."""
    subprocess.run(["srun", "-p", "high", f"-N{nodes}", f"-n{nodes}", "--exclusive", "sleep", "1"], check=True)


def test_a_sweep_is_one_array_and_a_finished_sweep_submits_nothing(fake_study: FakeStudy) -> None:
    sweep = ("+experiment=baseline,ds", "fold=0,1,2,3,4", *SLURM)
    done = fake_study.run(*sweep)
    assert done.returncode == 0, done.stdout
    assert "10 runs: 10 finished" in done.stdout
    jobs = {job(run) for run in fake_study.runs()}
    assert len(jobs) == 10
    assert len({job.split("_")[0] for job in jobs}) == 1

    done = fake_study.run(*sweep)
    assert done.returncode == 0, done.stdout
    assert "0 of 10 runs to do" in done.stdout
    assert {job(run) for run in fake_study.runs()} == jobs
    assert all(fake_state(run)["starts"] == 1 for run in fake_study.runs())


def test_a_sweep_of_other_settings_is_refused_until_the_queued_one_is_canceled(fake_study: FakeStudy) -> None:
    sweep = ("+experiment=baseline", *SLURM)
    later = ("hydra.launcher.wait=false", "hydra.launcher.additional_parameters={begin: now+1hour}")
    done = fake_study.run(*sweep, "fold=0", *later)
    assert done.returncode == 0, done.stdout
    (queued,) = fake_study.runs()
    refused = fake_study.run(*sweep, "fold=0,1", "trainer.epochs=7")
    assert refused.returncode == 2
    assert f"other settings (trainer.epochs: 1000 -> 7) by SLURM job {job(queued)}; give this" in refused.stdout
    subprocess.run(["scancel", job(queued)], check=True)
    done = fake_study.run(*sweep, "fold=0,1", "trainer.epochs=7")
    assert "2 runs: 2 finished" in done.stdout


def test_a_sweep_is_submitted_from_within_a_job_as_from_outside(fake_study: FakeStudy) -> None:
    """The array, the partition and the number of tasks of that job would be those of the sweep's."""
    surrounding = {"SLURM_JOB_ID": "1", "SLURM_NTASKS": "2", "SLURM_CPUS_PER_TASK": "3", "SLURM_TRES_PER_TASK": "cpu:3"}
    surrounding |= {"SBATCH_ARRAY_INX": "0-0", "SBATCH_TIMELIMIT": "1-00:00:00", "SBATCH_PARTITION": "high"}
    done = fake_study.run("+experiment=baseline", "fold=0,1", *SLURM, "hydra.launcher.partition=low", **surrounding)
    assert done.returncode == 0, done.stdout
    assert "2 runs: 2 finished" in done.stdout
    shown = ["scontrol", "show", "job", job(fake_study.runs()[1])]
    described = subprocess.run(shown, capture_output=True, text=True, check=True).stdout
    assert "Partition=low" in described
    assert "TimeLimit=01:00:00" in described


def test_a_design_ends_with_its_table(study: CommandLine) -> None:
    factors = ("+design.factors.focal.loss=focal_dice", "+design.factors.onehot.inputs=onehot")
    done = study.run("design=leave_one_out", "trainer.epochs=4", *factors)
    assert done.returncode == 0, done.stdout
    assert "3 runs: 3 finished" in done.stdout
    table = done.stdout.partition("leave one out")[2]
    assert all(text in table for text in ("all", "without onehot", "without focal", "job=report"))


def test_a_run_that_fails_is_not_requeued_and_has_its_reason(fake_study: FakeStudy) -> None:
    faults = {"baseline/0": "raises", "baseline/1": "rank 1 raises", "baseline/2": "killed"}
    done = fake_study.run(
        "+experiment=baseline", "fold=0,1,2,3", "+job.steps=150", *SLURM, "hydra.launcher.tasks_per_node=2", "trainer.ranks=2",
        faults=faults,
    )  # fmt: skip
    assert done.returncode == 1
    assert "4 runs: 1 finished, 3 failed" in done.stdout
    lines = {
        int(line.split("fold=")[1][0]): line for line in done.stdout.splitlines() if line.startswith("baseline fold=")
    }
    assert "the loss is not finite; lower lr" in lines[0]
    assert "the loss is not finite on rank 1; lower lr" in lines[1]
    assert "Killed" in lines[2]
    for run in fake_study.runs():
        status = run.status()
        assert submission(run).requeues == 0
        assert status.state == ("finished" if run.coordinates.fold == 3 else "failed")


def test_canceled_runs_are_not_requeued_and_a_second_submission_finishes_them(fake_study: FakeStudy) -> None:
    sweep = ("+experiment=baseline,ds", "fold=0,1", "+job.steps=1000", *SLURM)
    process = fake_study.start(*sweep)
    wait_until(lambda: have_finished_an_epoch(fake_study.runs(), 4), process)
    canceled = [job(run) for run in fake_study.runs()][1::2]
    subprocess.run(["scancel", *canceled], check=True)
    done = finish(process)
    assert done.returncode == 1
    assert "4 runs: 2 finished, 2 interrupted" in done.stdout
    states = slurm_states(canceled)
    assert not set(canceled) & states.keys()

    done = fake_study.run(*sweep)
    assert done.returncode == 0, done.stdout
    assert "2 of 4 runs to do, 2 already finished" in done.stdout
    assert [fake_state(run)["starts"] for run in fake_study.runs()] == [1, 2, 1, 2]
    assert len({fake_state(run)["weights"] for run in fake_study.runs()}) == 1


def test_a_launcher_that_is_killed_is_replaced_by_the_same_command(fake_study: FakeStudy) -> None:
    sweep = ("+experiment=baseline", "fold=0,1", "+job.steps=1000", *SLURM)
    process = fake_study.start(*sweep)
    wait_until(lambda: len(fake_study.runs()) == 2 and max(map(finished_epochs, fake_study.runs())) >= 1, process)
    process.kill()
    process.communicate()
    done = fake_study.run(*sweep)
    assert done.returncode == 0, done.stdout
    assert "0 of 2 runs to do, 2 already queued or running" in done.stdout
    assert "2 runs: 2 finished" in done.stdout
    assert [fake_state(run)["starts"] for run in fake_study.runs()] == [1, 1]


@pytest.mark.parametrize("how", ["preemption", "the signal before the time limit"])
def test_an_interrupted_run_resumes_to_the_weights_of_an_uninterrupted_one(
    study: CommandLine, undisturbed: CommandLine, how: str
) -> None:
    process = study.start(*INTERRUPTED)
    wait_until(lambda: have_finished_an_epoch(runs_of(study), 2), process)
    if how == "preemption":
        preempt()
    else:
        subprocess.run(["scancel", "--signal=USR2", *map(job, runs_of(study))], check=True)
    done = finish(process)
    assert done.returncode == 0, done.stdout
    assert all(submission(run).requeues >= 1 for run in runs_of(study))
    for run, reference in zip(runs_of(study), runs_of(undisturbed), strict=True):
        assert_same_weights(run, reference)
        losses = [[(row["epoch"], row["loss"]) for row in each.metrics()] for each in (run, reference)]
        assert losses[0] == losses[1]


def test_runs_longer_than_the_time_limit_are_requeued_until_they_are_finished(fake_study: FakeStudy) -> None:
    """SLURM checks the limits every half minute: its signal comes within the first minute, of 64 s of work."""
    sweep = ("+experiment=baseline", "fold=0,1", "+job.steps=3200", "+job.step_s=0.02", *SLURM)
    done = fake_study.run(*sweep, "hydra.launcher.timeout_min=1", "hydra.launcher.signal_delay_s=30")
    assert done.returncode == 0, done.stdout
    states = [fake_state(run) for run in fake_study.runs()]
    assert all(state["starts"] >= 2 and state["step"] == 3200 for state in states)
    assert len({state["weights"] for state in states}) == 1
    assert all(
        submission(run).requeues == state["starts"] - 1 for run, state in zip(fake_study.runs(), states, strict=True)
    )


def test_two_nodes_of_two_ranks_train_one_run_and_survive_preemption(study: CommandLine) -> None:
    ranks = ("trainer.ranks=4", "hydra.launcher.nodes=2", "hydra.launcher.tasks_per_node=2")
    sweep = ("+experiment=baseline", "fold=0", "trainer.epochs=6", *ranks)
    process = study.start(*sweep)
    wait_until(lambda: have_finished_an_epoch(runs_of(study), 1), process)
    preempt()
    done = finish(process)
    assert done.returncode == 0, done.stdout
    (run,) = runs_of(study)
    assert run.manifest()["world_size"] == 4
    assert submission(run).requeues >= 1

    done = study.run(*sweep, "paths.runs=undisturbed")
    assert done.returncode == 0, done.stdout
    assert_same_weights(run, runs_of(study, "undisturbed")[0])


@pytest.mark.skipif(os.geteuid() != 0, reason="submits as another user")
def test_the_jobs_of_a_colleague_are_found() -> None:
    submit = [
        "setpriv",
        "--reuid=65534",
        "--regid=65534",
        "--clear-groups",
        "sbatch",
        "--parsable",
        "--output=/dev/null",
    ]
    done = subprocess.run([*submit, "--wrap=sleep 60"], cwd="/", check=True, capture_output=True, text=True)
    colleagues = done.stdout.strip()
    try:
        assert (slurm_states([colleagues]) or {}).keys() == {colleagues}
    finally:
        subprocess.run(["scancel", colleagues], check=True)
