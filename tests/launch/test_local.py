from __future__ import annotations

import signal
from typing import Any

import pytest

from brats_ablate.errors import ConfigError
from brats_ablate.launch.local import slots_of, visible_devices
from brats_ablate.runs.directory import RunDirectory

LOCAL = ("hydra/launcher=submitit_local", "hydra.launcher.poll_seconds=0.1")
GPUS = ("hydra/launcher=local_gpus", "hydra.launcher.poll_seconds=0.1")


def epoch(run: RunDirectory) -> int:
    status = run.status()
    return status.epoch if status else 0


def test_devices_are_dealt_once_each() -> None:
    assert slots_of([0, 1, 2, 3, 4], 2) == [(0, 1), (2, 3)]
    assert slots_of([5, 7], 1) == [(5,), (7,)]
    with pytest.raises(ConfigError, match=r"devices_per_run=2 does not fit into devices \[1\]"):
        slots_of([1], 2)
    with pytest.raises(ConfigError, match="twice"):
        slots_of([1, 1], 1)


def test_visible_devices_are_those_that_the_environment_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,5")
    assert visible_devices() == [2, 5]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert visible_devices() == []
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-abc")
    with pytest.raises(ConfigError, match=r"hydra\.launcher\.devices"):
        visible_devices()


@pytest.mark.slow
def test_concurrent_runs_have_devices_of_their_own(fake_study: Any) -> None:
    code, text = fake_study.run(
        "+experiment=baseline", "fold=0,1,2,3", "+job.steps=60", *GPUS, CUDA_VISIBLE_DEVICES="3,6"
    )  # fmt: skip
    assert code == 0, text
    used = [run.manifest()["devices"] for run in fake_study.runs()]
    assert sorted(used) == ["3", "3", "6", "6"]
    intervals = {}
    for run, device in zip(fake_study.runs(), used, strict=True):
        intervals.setdefault(device, []).append(fake_study.state(run)["alive"])
    for first, second in intervals.values():
        assert first[1] <= second[0] or second[1] <= first[0]


@pytest.mark.slow
def test_failures_are_told_the_others_finish_and_a_second_launch_does_only_the_failed(fake_study: Any) -> None:
    sweep = ("+experiment=baseline,ds", "fold=0,1", *LOCAL, "hydra.launcher.max_parallel=4")
    code, text = fake_study.run(*sweep, faults={"baseline/1": "raises", "ds/0": "killed"})
    assert code == 1
    assert "the loss is not finite; lower lr" in text
    assert "killed without a word" in text
    assert "4 runs: 2 finished, 2 failed" in text
    assert [run.status().state for run in fake_study.runs()] == ["finished", "failed", "failed", "finished"]

    code, text = fake_study.run(*sweep)
    assert code == 0, text
    assert "2 of 4 runs to do, 2 finished before" in text
    code, text = fake_study.run(*sweep)
    assert code == 0, text
    assert "0 of 4 runs to do" in text


@pytest.mark.slow
def test_ctrl_c_saves_and_the_same_command_continues_at_the_step(fake_study: Any) -> None:
    sweep = ("+experiment=baseline", "fold=0,1,2", "+job.steps=500", *LOCAL, "hydra.launcher.max_parallel=2")
    process = fake_study.start(*sweep)
    fake_study.wait_until(lambda: len(fake_study.runs()) == 2 and min(map(epoch, fake_study.runs())) >= 1, process)
    process.send_signal(signal.SIGINT)
    text, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "2 runs: 2 interrupted" in text
    assert "the same command continues" in text
    stopped = [fake_study.state(run)["step"] for run in fake_study.runs()]
    assert all(0 < step < 500 for step in stopped)

    code, text = fake_study.run(*sweep)
    assert code == 0, text
    states = [fake_study.state(run) for run in fake_study.runs()]
    assert [s["starts"] for s in states] == [2, 2, 1]
    assert len({s["weights"] for s in states}) == 1


@pytest.mark.slow
def test_runs_outlive_a_killed_launcher_and_the_next_one_finds_them(fake_study: Any) -> None:
    sweep = ("+experiment=baseline", "fold=0,1", "+job.steps=200", *LOCAL, "hydra.launcher.max_parallel=2")
    process = fake_study.start(*sweep)
    fake_study.wait_until(lambda: len(fake_study.runs()) == 2 and min(map(epoch, fake_study.runs())) >= 1, process)
    process.kill()
    process.wait()
    code, text = fake_study.run(*sweep)
    assert code == 0, text
    assert "0 of 2 runs to do, 2 queued or running already" in text
    assert [fake_study.state(run)["starts"] for run in fake_study.runs()] == [1, 1]


@pytest.mark.slow
def test_a_rank_that_fails_ends_the_run_with_its_own_reason(fake_study: Any) -> None:
    code, text = fake_study.run(
        "+experiment=baseline", "fold=0", "+job.steps=100", *LOCAL, "hydra.launcher.ranks_per_run=2",
        faults={"baseline/0": "rank 1 raises and rank 0 notices"},
    )  # fmt: skip
    assert code == 1
    assert "rank 1: the loss is not finite on rank 1; lower lr" in text


@pytest.mark.slow
def test_a_run_of_another_configuration_is_refused_before_anything_starts(fake_study: Any) -> None:
    code, text = fake_study.run("+experiment=baseline", "fold=0", *LOCAL)
    assert code == 0, text
    code, text = fake_study.run("+experiment=baseline", "fold=0,1", "trainer.epochs=7", *LOCAL)
    assert code == 2
    assert "trainer.epochs: 1000 -> 7" in text
    assert len(fake_study.runs()) == 1
