from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from omegaconf import OmegaConf
from scaffolding import FakeStudy, fake_state, finish, finished_epochs, run_at, wait_until, write_run

from brats_ablate.errors import ConfigError
from brats_ablate.launch import local
from brats_ablate.launch.local import launch, make_slots
from brats_ablate.launch.submission import Submission, local_submission, write_submission
from brats_ablate.launch.sweep import SweepPlan, SweepRun, plan_sweep
from brats_ablate.runs.state import RunState
from brats_ablate.runtime import signals
from brats_ablate.runtime.workers import available_cores

LOCAL = ("hydra/launcher=submitit_local", "hydra.launcher.poll_seconds=0.1")
GPUS = ("hydra/launcher=local_gpus", "hydra.launcher.poll_seconds=0.1")


def test_slots_share_no_device() -> None:
    assert make_slots(["0", "1", "2", "3", "4"], 2) == [("0", "1"), ("2", "3")]
    assert make_slots(["5", "GPU-8f6"], 1) == [("5",), ("GPU-8f6",)]
    with pytest.raises(ConfigError, match=r"devices_per_run=2 does not fit into devices \[1\]"):
        make_slots(["1"], 2)
    with pytest.raises(ConfigError, match=r"^devices \[1,1\] name one twice"):
        make_slots(["1", "1"], 1)
    with pytest.raises(ConfigError, match=r"^hydra/launcher=local_gpus finds no GPU; check nvidia-smi -L"):
        make_slots([], 1)


@pytest.mark.parametrize(
    ("squeue", "reason"),
    [
        ("echo '8|PENDING'", "SLURM job 8"),
        ("exit 1", "SLURM does not answer here, and its job 8 may have the run; if that job has ended, delete "),
    ],
)
def test_a_run_that_slurm_has_is_left_to_it(
    squeue: str,
    reason: str,
    tmp_path: Path,
    fake_command: Callable[[str, str], None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    fake_command("squeue", squeue)
    run = write_run(run_at(tmp_path / "work" / "phantom" / "runs"), RunState.INTERRUPTED, epochs=4)
    write_submission(run.path, Submission("slurm", "8", str(tmp_path), 1, ""))
    (run.path / "manifest.json").unlink()
    before = run.status()
    each = SweepRun("baseline", OmegaConf.create({"trainer": {"devices": 1, "epochs": 4}}), run)
    assert launch([each], lambda cfg: pytest.fail("started"), tmp_path, [()], 1, 0.01) == 0
    assert run.status() == before
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "0 of 1 runs to do, 1 already queued or running"
    assert lines[1].startswith("baseline  queued or running in SLURM  ")
    assert f" {reason}" in lines[1]


@pytest.mark.parametrize(("unfinished", "processes"), [(1, 2), (3, 6), (6, 8)])
def test_cores_are_shared_by_the_runs_that_are_left(
    unfinished: int, processes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Started(Exception):
        pass

    def start(*arguments: object) -> None:
        raise Started(arguments[-1])

    monkeypatch.setattr(local, "_start", start)
    runs = [run_at(tmp_path / "work" / "phantom" / "runs", fold=fold) for fold in range(7)]
    for run in runs[unfinished:]:
        write_run(run)
        (run.path / "manifest.json").unlink()
    sweep = [SweepRun("", OmegaConf.create({"trainer": {"devices": 2, "epochs": 4}}), run) for run in runs]
    with pytest.raises(Started) as started:
        launch(sweep, lambda cfg: 0, tmp_path, [()] * 4, 1, 0.01)
    assert started.value.args == (processes,)


def test_a_run_that_became_impossible_does_not_end_the_sweep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = [run_at(tmp_path / "work" / "phantom" / "runs", fold=fold) for fold in range(3)]
    sweep = [
        SweepRun(str(i), OmegaConf.create({"trainer": {"devices": 1, "epochs": 1}}), r) for i, r in enumerate(runs)
    ]

    def start(each: SweepRun, *_: object) -> Submission:
        (write_run(each.run).path / "manifest.json").unlink()
        return Submission("local", "1", str(tmp_path), 1)

    def plan(sweep_runs: Sequence[SweepRun]) -> SweepPlan:
        if [each.run for each in sweep_runs] == [runs[1]]:
            raise ConfigError("another one of its name has other settings")
        return plan_sweep(sweep_runs)

    monkeypatch.setattr(local, "_start", start)
    monkeypatch.setattr(local, "plan_sweep", plan)
    assert launch(sweep, lambda cfg: 0, tmp_path, [()], 1, 0.01) == 2
    printed = capsys.readouterr()
    assert "another one of its name has other settings" in printed.err
    assert printed.out.splitlines()[-1] == "3 runs: 2 finished, 1 failed"


def test_a_second_ctrl_c_leaves_the_runs_to_themselves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(seconds: float) -> None:
        raise KeyboardInterrupt

    run = write_run(run_at(tmp_path / "work" / "phantom" / "runs"), RunState.RUNNING, epochs=4)
    write_submission(run.path, local_submission(os.getpid(), tmp_path, 1, ()))  # a process that stays alive
    (run.path / "manifest.json").unlink()
    sent: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "kill", lambda *arguments: sent.append(arguments))
    monkeypatch.setattr(time, "sleep", interrupted)
    each = SweepRun("baseline", OmegaConf.create({"trainer": {"devices": 1, "epochs": 4}}), run)
    with pytest.raises(KeyboardInterrupt):
        launch([each], lambda cfg: pytest.fail("started"), tmp_path, [()], 1, 0.01)
    assert sent == [(os.getpid(), signal.SIGTERM)]  # by the first
    assert capsys.readouterr().out.endswith("press Ctrl-C again to leave them running\n")


@pytest.mark.slow(minutes=3)
def test_concurrent_runs_have_their_own_devices(fake_study: FakeStudy) -> None:
    done = fake_study.run(
        "+experiment=baseline", "fold=0,1,2,3", "+job.steps=60", *GPUS, CUDA_VISIBLE_DEVICES="3,GPU-8f6", OMP_NUM_THREADS=""
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    used = [run.manifest()["devices"] for run in fake_study.runs()]
    assert sorted(used) == ["3", "3", "GPU-8f6", "GPU-8f6"]
    assert {run.manifest()["threads"] for run in fake_study.runs()} == {str(max(1, available_cores() // 2))}
    intervals: dict[str, list[list[float]]] = {}
    for run, device in zip(fake_study.runs(), used, strict=True):
        intervals.setdefault(device, []).append(fake_state(run)["alive"])
    for first, second in intervals.values():
        assert first[1] <= second[0] or second[1] <= first[0]


@pytest.mark.slow(minutes=3)
def test_failures_do_not_disturb_the_others_and_the_next_launch_reruns_only_them(fake_study: FakeStudy) -> None:
    sweep = ("+experiment=baseline,ds", "fold=0,1", *LOCAL, "hydra.launcher.max_parallel=4")
    done = fake_study.run(*sweep, faults={"baseline/1": "raises", "ds/0": "killed"})
    assert done.returncode == 1
    assert "the loss is not finite; lower lr" in done.stdout
    assert "killed (out of memory?)" in done.stdout
    assert "4 runs: 2 finished, 2 failed" in done.stdout
    assert [status.state for run in fake_study.runs() if (status := run.status())] == [
        "finished",
        "failed",
        "failed",
        "finished",
    ]

    done = fake_study.run(*sweep)
    assert done.returncode == 0, done.stdout
    assert "2 of 4 runs to do, 2 already finished" in done.stdout
    done = fake_study.run(*sweep)
    assert done.returncode == 0, done.stdout
    assert "0 of 4 runs to do" in done.stdout


@pytest.mark.slow(minutes=3)
def test_ctrl_c_saves_and_the_same_command_resumes_at_the_step(fake_study: FakeStudy) -> None:
    sweep = ("+experiment=baseline", "fold=0,1,2", "+job.steps=600", *LOCAL, "hydra.launcher.max_parallel=2")
    process = fake_study.start(*sweep)
    wait_until(lambda: len(fake_study.runs()) == 2 and min(map(finished_epochs, fake_study.runs())) >= 1, process)
    process.send_signal(signal.SIGINT)
    done = finish(process)
    assert done.returncode == signals.EXIT_CODE
    assert "2 runs: 2 interrupted" in done.stdout
    assert "same command" in done.stdout
    stopped = [fake_state(run)["step"] for run in fake_study.runs()]
    assert all(0 < step < 600 for step in stopped)

    done = fake_study.run(*sweep)
    assert done.returncode == 0, done.stdout
    states = [fake_state(run) for run in fake_study.runs()]
    assert [s["starts"] for s in states] == [2, 2, 1]
    assert len({s["weights"] for s in states}) == 1


@pytest.mark.slow(minutes=3)
def test_runs_outlive_a_killed_launcher_and_the_next_one_finds_them(fake_study: FakeStudy) -> None:
    sweep = ("+experiment=baseline", "fold=0,1", "+job.steps=1000", *LOCAL, "hydra.launcher.max_parallel=2")
    process = fake_study.start(*sweep)
    wait_until(lambda: len(fake_study.runs()) == 2 and min(map(finished_epochs, fake_study.runs())) >= 1, process)
    process.kill()
    process.wait()
    done = fake_study.run(*sweep)
    assert done.returncode == 0, done.stdout
    assert "0 of 2 runs to do, 2 already queued or running" in done.stdout
    assert [fake_state(run)["starts"] for run in fake_study.runs()] == [1, 1]


@pytest.mark.slow(minutes=3)
def test_the_reason_of_a_failed_run_is_that_of_the_failed_rank(fake_study: FakeStudy) -> None:
    done = fake_study.run(
        "+experiment=baseline", "fold=0", "+job.steps=100", *LOCAL, "hydra.launcher.ranks_per_run=2", "trainer.ranks=2",
        faults={"baseline/0": "rank 1 raises and rank 0 notices"},
    )  # fmt: skip
    assert done.returncode == 1
    assert "rank 1: the loss is not finite on rank 1; lower lr" in done.stdout


@pytest.mark.slow(minutes=3)
def test_a_run_with_a_different_configuration_is_refused_before_anything_starts(fake_study: FakeStudy) -> None:
    two_at_a_time = (*LOCAL, "hydra.launcher.max_parallel=2")
    done = fake_study.run("+experiment=baseline", "fold=0", *two_at_a_time, OMP_NUM_THREADS="3")
    assert done.returncode == 0, done.stdout
    assert fake_study.runs()[0].manifest()["threads"] == "3"  # the user's own
    done = fake_study.run("+experiment=baseline", "fold=0,1", "trainer.epochs=7", *LOCAL)
    assert done.returncode == 2
    assert "trainer.epochs: 1000 -> 7" in done.stdout
    assert len(fake_study.runs()) == 1
