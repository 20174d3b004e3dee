from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf
from scaffolding import write_run

from brats_ablate.config.check import resolve
from brats_ablate.config.command import record_options
from brats_ablate.config.locations import resource_dir
from brats_ablate.errors import ConfigError, Unreadable, UserError
from brats_ablate.launch.submission import Submission, write_submission
from brats_ablate.launch.sweep import (
    SweepRun,
    as_sweep_run,
    check_ranks,
    configuration,
    plan_sweep,
    score,
    submission_lock,
)
from brats_ablate.runs.directory import RunDirectory
from brats_ablate.runs.identity import identity
from brats_ablate.runs.state import RunState


@pytest.fixture(scope="module")
def baseline() -> DictConfig:
    with initialize_config_dir(str(resource_dir("conf")), version_base="1.3"):
        return compose("config", ["data=phantom", "+experiment=baseline"])


def make_sweep(baseline: DictConfig, runs: Path, folds: int) -> list[SweepRun]:
    sweep_runs = []
    for fold in range(folds):
        cfg = OmegaConf.merge(baseline, {"fold": fold, "paths": {"runs": str(runs)}})
        sweep_runs.append(as_sweep_run(cfg, f"fold={fold}"))
    return sweep_runs


def directory(each: SweepRun) -> RunDirectory:
    return each.run


def write(each: SweepRun, state: RunState) -> None:
    write_run(directory(each), state, manifest={"identity": identity(resolve(each.cfg))})


def test_runs_that_are_finished_running_or_queued_are_not_submitted(
    baseline: DictConfig, tmp_path: Path, fake_command: Callable[[str, str], None]
) -> None:
    sweep_runs = make_sweep(baseline, tmp_path, 7)
    states = [RunState.FINISHED, RunState.FAILED, RunState.INTERRUPTED, RunState.RUNNING, RunState.RUNNING]
    for each, state in zip(sweep_runs, states, strict=False):
        write(each, state)
    queued, ended = (Submission("slurm", job, "", 1, "") for job in ("8", "9"))
    write_submission(directory(sweep_runs[5]).path, queued)
    write_submission(directory(sweep_runs[6]).path, ended)
    fake_command("squeue", "echo '8|PENDING'")
    with directory(sweep_runs[4]).lock():
        plan = plan_sweep(sweep_runs)
    assert plan.finished == [0]
    assert plan.to_submit == [1, 2, 3, 6]  # run 3 is recorded as running, but no process holds its lock
    assert plan.running_elsewhere == [4]
    assert plan.already_submitted == {5: queued}


def test_the_submission_of_a_finished_run_does_not_count(
    baseline: DictConfig, tmp_path: Path, fake_command: Callable[[str, str], None]
) -> None:
    sweep_runs = make_sweep(baseline, tmp_path, 2)
    for each in sweep_runs:
        write(each, RunState.FINISHED)
    write_submission(directory(sweep_runs[0]).path, Submission("slurm", "8", "", 1, ""))
    (directory(sweep_runs[1]).path / "launch.json").write_text("{")
    fake_command("squeue", f": > {tmp_path / 'asked'}")
    assert plan_sweep(sweep_runs).finished == [0, 1]
    assert not (tmp_path / "asked").exists()


def test_a_job_without_a_run_directory_is_always_submitted(baseline: DictConfig, tmp_path: Path) -> None:
    cfg = OmegaConf.merge(baseline, {"job": {"_target_": "brats_ablate.jobs.predict.run"}})
    each = as_sweep_run(cfg, "predict")
    assert each.run is None
    assert plan_sweep([each, each]).to_submit == [0, 1]


def test_a_finished_run_with_a_different_configuration_is_refused_with_the_difference(
    baseline: DictConfig, tmp_path: Path
) -> None:
    (each,) = make_sweep(baseline, tmp_path, 1)
    write(each, RunState.FINISHED)
    changed = OmegaConf.merge(each.cfg, {"trainer": {"epochs": 3}})
    with pytest.raises(ConfigError, match=r"trainer\.epochs: 1000 -> 3"):
        plan_sweep([as_sweep_run(changed, "")])


@pytest.mark.parametrize("fold", [0, 1])
@pytest.mark.parametrize(
    ("squeue", "message"),
    [
        (
            "echo '8|PENDING'",
            r"loss\.beta: 1 -> \(absent\)\) by SLURM job 8; give this sweep another name=…, or stop it first$",
        ),
        ("exit 1", "by SLURM job 8; .* delete the launch.json there"),
        ("", None),
    ],
)
def test_a_sweep_is_refused_while_its_name_is_queued_with_other_settings(
    baseline: DictConfig, tmp_path: Path, fake_command: Callable[[str, str], None], fold: int, squeue: str, message: str
) -> None:
    """It would report the other runs as its own, or both would be one experiment in every table."""
    fake_command("squeue", squeue)
    queued = make_sweep(baseline, tmp_path, 1)[0]
    wanted = make_sweep(baseline, tmp_path, 2)[fold]
    settings = {"status_before": "", "identity": queued.before_submission()["identity"]}
    directory(queued).path.mkdir(parents=True)
    write_submission(directory(queued).path, Submission("slurm", "8", "", 1, **settings))
    assert not plan_sweep([wanted]).finished
    settings["identity"] |= {"loss.beta": 1}
    write_submission(directory(queued).path, Submission("slurm", "8", "", 1, **settings))
    if message is None:  # that job has ended
        assert plan_sweep([wanted]).to_submit == [0]
        return
    with pytest.raises(ConfigError, match=message):
        plan_sweep([wanted])


def test_a_sweep_with_the_same_run_twice_is_refused(baseline: DictConfig, tmp_path: Path) -> None:
    (each,) = make_sweep(baseline, tmp_path, 1)
    with pytest.raises(ConfigError, match=r"^baseline fold=0 lr=0\.0007 seed=0 is twice in the sweep; leave one out"):
        plan_sweep([each, each])
    a, b = (replace(each, overrides=[f"+experiment={name}", "name=x"]) for name in ("ds", "focal"))
    with pytest.raises(
        ConfigError, match="twice in the sweep, by experiment=ds and by experiment=focal; leave one out"
    ):
        plan_sweep([a, b])


def test_a_lock_that_a_colleague_alone_can_write_is_one_sentence(
    baseline: DictConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(path: Path) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr("brats_ablate.launch.sweep.lock_file", denied)  # root may write everything
    sweep_runs = make_sweep(baseline, tmp_path, 1)
    sentence = r"\.submission\.lock cannot be written by you, .*chmod g\+w"
    with pytest.raises(UserError, match=sentence), submission_lock(sweep_runs):
        pass


def test_options_keep_their_interpolations_in_the_configuration_of_a_run(baseline: DictConfig, tmp_path: Path) -> None:
    (each,) = make_sweep(baseline, tmp_path, 1)
    record_options(each.cfg, ["init.checkpoint='runs/a/fold=${fold}'", "loss=focal"])
    read: Any = OmegaConf.to_container(OmegaConf.create(configuration(each.cfg)), resolve=True)  # as a worker reads it
    assert read["about"]["options"] == ["init.checkpoint='runs/a/fold=${fold}'", "loss=focal"]


def test_the_configuration_of_a_run_is_text_without_interpolations(baseline: DictConfig, tmp_path: Path) -> None:
    (each,) = make_sweep(baseline, tmp_path, 1)
    read: Any = OmegaConf.to_container(OmegaConf.create(configuration(each.cfg)))
    assert read == OmegaConf.to_container(each.cfg, resolve=True)
    assert "${" not in configuration(each.cfg)


@pytest.mark.parametrize(
    ("ranks", "devices", "tasks", "message"),
    [
        (1, 1, 1, None),
        (2, 2, 1, None),
        (8, 1, 8, None),
        (1, 2, 1, "trainer.ranks=1, but trainer.devices=2 starts 2 processes; start 1, or set trainer.ranks=2, "),
        (2, 1, 1, "trainer.ranks=2, but trainer.devices=1 starts 1 process; start 2, or set trainer.ranks=1, "),
        (1, 1, 8, "trainer.ranks=1, but torchrun starts 8 processes; start 1, or set trainer.ranks=8, "),
    ],
)
def test_a_run_is_started_with_the_processes_that_it_declares(
    baseline: DictConfig, ranks: int, devices: int, tasks: int, message: str | None
) -> None:
    cfg = OmegaConf.merge(baseline, {"trainer": {"ranks": ranks, "devices": devices}})
    if message is None:
        check_ranks(cfg, tasks, "torchrun")
        return
    with pytest.raises(ConfigError) as refused:
        check_ranks(cfg, tasks, "torchrun")
    assert str(refused.value).startswith(message)


def test_a_run_of_an_earlier_version_by_two_processes_is_one_of_two_ranks(baseline: DictConfig, tmp_path: Path) -> None:
    (each,) = make_sweep(baseline, tmp_path, 1)
    before = {"identity": identity(resolve(each.cfg)), "world_size": 2}
    write_run(directory(each), RunState.INTERRUPTED, manifest=before)
    with pytest.raises(ConfigError, match=r"trainer\.ranks: 2 -> 1"):
        plan_sweep([each])
    two = OmegaConf.merge(each.cfg, {"trainer": {"ranks": 2}})
    assert plan_sweep([as_sweep_run(two, "two")]).to_submit == [0]


def test_the_score_of_a_finished_run_needs_all_its_epochs(baseline: DictConfig, tmp_path: Path) -> None:
    (each,) = make_sweep(baseline, tmp_path, 1)
    assert score(each.cfg) is None
    write_run(directory(each), dice=(0.5, 0.6))
    assert score(each.cfg) == 0.6
    file = directory(each).path / "metrics.jsonl"
    file.write_text(file.read_text().splitlines()[0] + "\n")
    with pytest.raises(Unreadable, match=r"metrics\.jsonl is damaged.* ends with epoch 1 of 2"):
        score(each.cfg)
