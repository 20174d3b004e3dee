"""A search by the real hydra-optuna-sweeper with a database: its trials are runs, and it continues to its total."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest
from scaffolding import CommandLine, FakeStudy, finish, wait_until

from brats_ablate.runs.directory import RunDirectory, find_runs
from brats_ablate.runs.identity import config_hash
from brats_ablate.runtime import signals

optuna = pytest.importorskip("optuna")
pytest.importorskip("hydra_plugins.hydra_optuna_sweeper")

SEARCH = (
    *("-m", "hydra/sweeper=optuna_study", "hydra.sweeper.storage=sqlite:///optuna.db", "hydra.sweeper.study_name=s"),
    *("lr=tag(log,interval(1e-4,1e-2))", "loss=bce_dice,focal_dice"),
)


def trials(folder: Path) -> list[Any]:
    study = optuna.load_study(study_name="s", storage=f"sqlite:///{folder}/optuna.db")
    return list(study.get_trials())


def complete(folder: Path) -> list[Any]:
    return [t for t in trials(folder) if t.state == optuna.trial.TrialState.COMPLETE]


def run_of(trial: Any, runs: list[RunDirectory]) -> RunDirectory:
    """The run whose identity has the trial's parameters."""
    (run,) = (r for r in runs if (r.identity() or {})["lr"] == trial.params["lr"])
    return run


@pytest.fixture
def fake_study(tmp_path: Path) -> FakeStudy:
    return FakeStudy(tmp_path, (*SEARCH, "encoder.width=interval(0.2,1.0)"))


@pytest.mark.slow
def test_the_highest_dice_is_searched_for_by_one_process(tmp_path: Path) -> None:
    """hydra-optuna-sweeper itself minimizes by default."""
    command = CommandLine(tmp_path, ("-m", "data=phantom", "lr=interval(1e-4,1e-2)"))
    done = command.run("hydra/sweeper=optuna", "hydra.sweeper.n_jobs=1")
    assert done.returncode == 2
    assert "direction=minimize would search for the lowest Dice" in done.stdout
    done = command.run(
        "hydra/sweeper=optuna_study", "hydra.sweeper.storage=sqlite:////no/such/folder.db", "hydra.sweeper.study_name=s"
    )
    assert done.returncode == 2
    assert done.stdout.startswith("brats-ablate: hydra.sweeper.storage=sqlite:////no/such/folder.db cannot be opened (")
    done = command.run(*SEARCH, WORLD_SIZE="2", RANK="0")
    assert done.returncode == 2
    assert "each process of torchrun would search on its own; start one, with trainer.devices=N" in done.stdout


@pytest.mark.slow(minutes=3)
def test_a_killed_search_of_trained_runs_continues_to_its_total(work: Path, small: tuple[str, ...]) -> None:
    command = CommandLine(work, (*small, *SEARCH), {"BRATS_ABLATE_WORK": str(work)})
    search = ("hydra.sweeper.n_trials=4", "objective=dice/ET")
    process = command.start(*search, "trainer.epochs=3")
    wait_until(lambda: len(find_runs(work / "phantom/runs")) == 2, process)
    process.kill()
    process.communicate()
    killed = [t for t in trials(work) if t.state == optuna.trial.TrialState.RUNNING]
    assert len(killed) == 1

    refused = command.run(*search, "trainer.epochs=2")
    assert refused.returncode == 2
    assert "study s was started with trainer.epochs=3, not 2" in refused.stdout
    done = command.run(*search, "trainer.epochs=3")
    assert done.returncode == 0, done.stdout
    assert "study s: 1 of 4 trials done" in done.stdout
    assert len(complete(work)) == 4
    assert any(t.params == killed[0].params for t in complete(work))

    runs = find_runs(work / "phantom/runs")
    assert len(runs) == 4
    for trial in complete(work):
        run = run_of(trial, runs)
        assert run.is_finished()
        assert run.coordinates.name == ("loss-focal_dice" if trial.params["loss"] == "focal_dice" else "default")
        best = max((row for row in run.metrics() if row["epoch"]), key=lambda row: row["dice"])
        assert trial.value == best["dice/ET"]
    again = command.run(*search, "trainer.epochs=3")
    assert "study s: 4 of 4 trials done" in again.stdout
    assert len(complete(work)) == 4


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["serial", "submitit_local"])
def test_every_trial_is_a_run_of_its_own(fake_study: FakeStudy, launcher: str) -> None:
    settings = ("hydra.sweeper.n_trials=3", "hydra.sweeper.n_jobs=2", "name=search", f"hydra/launcher={launcher}")
    done = fake_study.run(*settings, "+job.steps=4", "fold=1")
    assert done.returncode == 0, done.stdout
    assert [t.value for t in trials(fake_study.folder)] == [0.51] * 3
    runs = fake_study.runs()
    assert len({config_hash(run.identity() or {}) for run in runs}) == 3
    for trial in trials(fake_study.folder):
        name = f"search_encoder.width-{trial.params['encoder.width']}"
        name += "_loss-focal_dice" if trial.params["loss"] == "focal_dice" else ""
        assert run_of(trial, runs).coordinates.name == name


@pytest.mark.slow
def test_a_failed_run_is_a_failed_trial_and_the_exit_code(fake_study: FakeStudy) -> None:
    search = ("hydra.sweeper.n_trials=3", "hydra.sweeper.max_failure_rate=1", "encoder.width=1.0", "loss=bce_dice")
    search += ("fold=choice(0,1)", "hydra/sweeper/sampler=random", "hydra.sweeper.n_jobs=3", "lr=1e-3,2e-3,3e-3,4e-3")
    done = fake_study.run(*search, "+job.steps=4", faults={"custom/0": "raises", "custom/1": "raises"})
    assert done.returncode == 1
    assert "every trial of study s failed" in done.stdout
    assert {t.state for t in trials(fake_study.folder)} == {optuna.trial.TrialState.FAIL}
    again = fake_study.run(*search, "+job.steps=4")
    assert "study s: 3 of 3 trials done" in again.stdout
    assert again.returncode == 1


@pytest.mark.slow
def test_an_invalid_trial_is_a_failed_one_and_a_run_without_a_score_is_refused(fake_study: FakeStudy) -> None:
    search = ("fold=8,9", "hydra.sweeper.n_trials=2", "hydra.sweeper.max_failure_rate=1")
    done = fake_study.run(*search)
    assert done.returncode == 2
    assert done.stdout.count("Failed experiment: fold=") == 2
    assert [t.state.name for t in trials(fake_study.folder)] == ["FAIL", "FAIL"]
    done = fake_study.run(*search[1:], "hydra.sweeper.study_name=other", "trainer=debug")
    assert done.returncode == 2
    assert "has no score to search by; use hydra/sweeper=grid" in done.stdout


@pytest.mark.slow
def test_an_interrupted_run_ends_the_search_and_is_finished_by_the_next(fake_study: FakeStudy) -> None:
    process = fake_study.start("hydra.sweeper.n_trials=2", "+job.steps=2000")
    wait_until(lambda: len(fake_study.runs()) == 1 and fake_study.runs()[0].is_locked(), process)
    second = fake_study.run("hydra.sweeper.n_trials=2", "+job.steps=2000")
    assert second.returncode == 2
    assert "study s is run by another command" in second.stdout
    process.send_signal(signal.SIGINT)
    assert finish(process).returncode == signals.EXIT_CODE
    (interrupted,) = fake_study.runs()
    done = fake_study.run("hydra.sweeper.n_trials=2", "+job.steps=20")
    assert done.returncode == 0, done.stdout
    assert interrupted.is_finished()
    assert len(fake_study.runs()) == len(complete(fake_study.folder)) == 2
