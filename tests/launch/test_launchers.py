"""The launchers as Hydra uses them: composition and checks, and the serial launcher from end to end."""

from __future__ import annotations

import re
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.plugins import Plugins
from hydra.types import HydraContext, RunMode
from omegaconf import DictConfig, OmegaConf
from scaffolding import FakeStudy, finish, run_at, wait_until, write_run

from brats_ablate.config.check import check
from brats_ablate.config.locations import resource_dir
from brats_ablate.errors import ConfigError
from brats_ablate.runtime import signals
from hydra_plugins import brats_ablate_optuna


def launcher(*overrides: str) -> Any:
    """The launcher of a multirun with these overrides, set up as Hydra does it."""
    with initialize_config_dir(str(resource_dir("conf")), version_base="1.3"):
        hydra = GlobalHydra.instance().hydra
        config = hydra.compose_config("config", ["data=phantom", *overrides], run_mode=RunMode.MULTIRUN)
        context = HydraContext(config_loader=hydra.config_loader, callbacks=None)  # type: ignore[arg-type]
        return Plugins.instance().instantiate_launcher(
            hydra_context=context, task_function=lambda cfg: 0, config=config
        )


@pytest.mark.parametrize("name", ["serial", "submitit_local", "local_gpus", "slurm", "slurm_a100", "slurm_a100_ddp"])
def test_every_launcher_can_be_chosen(name: str) -> None:
    assert launcher(f"hydra/launcher={name}").ranks_per_run == (8 if name == "slurm_a100_ddp" else 1)


@pytest.mark.slow
def test_cached_composition_equals_hydras() -> None:
    instance = launcher()
    overrides = [
        [f"+experiment={experiment}", f"fold={fold}", f"lr={lr}"]
        for experiment, fold, lr in (("baseline", 0, "5e-4"), ("ds_deeper_onehot", 1, "9e-4"), ("baseline", 1, "9e-4"))
    ]
    composed = instance.compose(overrides, 0)
    assert len(composed) == 3
    for each, words in zip(composed, overrides, strict=True):
        expected = instance.context.config_loader.load_sweep_config(instance.config, words)
        trees: list[Any] = [OmegaConf.to_container(cfg, resolve=False) for cfg in (each.cfg, expected)]
        for tree in trees:
            del tree["hydra"]
        assert trees[0]["about"].pop("options") == words[:1]  # what other folds and rates need
        assert trees[1]["about"].pop("options") is None
        assert trees[0] == trees[1]


def test_an_invalid_configuration_stops_the_sweep_before_anything_starts(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    instance = launcher()
    monkeypatch.setattr(instance, "run_all", lambda runs: pytest.fail("started"))
    with pytest.raises(SystemExit) as leaving:
        instance.launch([["fold=0"], ["fold=9"]], 0)
    assert leaving.value.code == 2
    assert "fold=9 does not exist" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["serial", "submitit_local"])
def test_a_run_of_another_configuration_stops_the_sweep_before_anything_starts(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_run(run_at(tmp_path / "runs", "ds", fold=1), manifest={"identity": {"seed": 0, "loss.beta": 1}})
    monkeypatch.setattr("brats_ablate.jobs.sweep.data_check.check_sweep_data", lambda sweep: None)
    instance = launcher(f"hydra/launcher={name}")
    monkeypatch.setattr(instance, "run_all", lambda runs: pytest.fail("started"))
    with pytest.raises(SystemExit) as leaving:
        instance.launch([["+experiment=ds", f"fold={fold}", f"paths.work={tmp_path}"] for fold in (0, 1)], 0)
    assert leaving.value.code == 2
    assert (
        f"{tmp_path}/runs/ds/fold=1/lr=0.0007/seed=0 has the same name, but other settings (" in capsys.readouterr().err
    )
    assert not (tmp_path / "tables").exists()


@pytest.mark.slow
def test_a_serial_sweep_ends_with_the_outcome_of_each_run(fake_study: FakeStudy) -> None:
    done = fake_study.run("+experiment=baseline", "fold=0,1,2", faults={"baseline/1": "raises"})
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    end = lines.index("run the same command again to resume unfinished runs") + 1
    table = lines[end - 5 : end]  # before the means of the finished runs
    assert table[0].split() == ["baseline", "fold=0", "lr=0.0007", "seed=0", "finished", "4/4", "0.5000"]
    assert table[1].split() == ["baseline", "fold=2", "lr=0.0007", "seed=0", "finished", "4/4", "0.5200"]
    assert table[2].split()[1:6] == ["fold=1", "lr=0.0007", "seed=0", "failed", "2/4"]
    assert table[2].endswith("the loss is not finite; lower lr")
    assert table[3:] == ["3 runs: 2 finished, 1 failed", "run the same command again to resume unfinished runs"]


@pytest.mark.slow
def test_a_serial_sweep_continues_after_a_run_that_became_impossible(fake_study: FakeStudy) -> None:
    process = fake_study.start("+experiment=baseline,ds", "fold=0,1", "+job.steps=200")
    wait_until(lambda: bool(fake_study.runs()), process)
    other = run_at(fake_study.folder / "work" / "phantom" / "runs", fold=1)
    write_run(other, manifest={"identity": {"loss.beta": 1}})
    done = finish(process)
    assert done.returncode == 2, done.stdout
    assert f"{other.path} was started with a different configuration (" in done.stdout
    assert "4 runs: 3 finished, 1 failed" in done.stdout


@pytest.mark.slow
def test_a_serial_sweep_that_is_interrupted_continues(fake_study: FakeStudy) -> None:
    process = fake_study.start("+experiment=baseline", "fold=1,3", "+job.steps=2000")
    wait_until(lambda: any(run.is_locked() for run in fake_study.runs()), process)
    process.send_signal(signal.SIGINT)
    done = finish(process)
    assert done.returncode == signals.EXIT_CODE
    assert done.stdout.splitlines()[-2] == "2 runs: 1 not started, 1 interrupted"

    done = fake_study.run("+experiment=baseline", "fold=1,3")
    assert done.returncode == 0, done.stdout
    metrics = fake_study.runs()[0].path / "metrics.jsonl"
    metrics.write_bytes(b"{\n" + metrics.read_bytes())
    done = fake_study.run("+experiment=baseline", "fold=1,2,3")
    assert done.returncode == 0, "a damaged record of a finished run is no reason to train no other one"
    assert "3 runs: 2 already finished, 1 finished" in done.stdout.splitlines()
    assert "! baseline fold=1 lr=0.0007 seed=0:" in done.stdout


@pytest.mark.slow
def test_a_serial_sweep_leaves_alone_what_runs_elsewhere(fake_study: FakeStudy) -> None:
    elsewhere = run_at(fake_study.folder / "work" / "phantom" / "runs", fold=0)
    with elsewhere.lock():
        done = fake_study.run("+experiment=baseline", "fold=0,1")
    assert done.returncode == 0, done.stdout
    assert "2 runs: 1 running elsewhere, 1 finished" in done.stdout
    assert elsewhere.status() is None


def test_any_other_option_of_sbatch_can_be_given_as_documented() -> None:
    parameters = launcher(
        "hydra/launcher=slurm_a100", "hydra.launcher.additional_parameters={reservation: study}"
    ).parameters
    assert parameters["slurm_additional_parameters"] == {"requeue": True, "reservation": "study"}


def test_site_settings_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BRATS_ABLATE_SLURM_PARTITION", "a100")
    parameters = launcher("hydra/launcher=slurm_a100", "hydra.launcher.account=lab").parameters
    assert parameters["slurm_partition"] == "a100"
    assert parameters["slurm_account"] == "lab"
    assert "slurm_qos" not in parameters
    monkeypatch.setenv("SBATCH_PARTITION", "other")
    monkeypatch.setenv("SBATCH_QOS", "long")
    parameters = launcher("hydra/launcher=slurm_a100").parameters
    assert [parameters[key] for key in ("slurm_partition", "slurm_qos")] == ["a100", "long"]
    assert parameters["slurm_additional_parameters"] == {"requeue": True}


def test_one_run_has_one_gpu_and_only_its_ddp_preset_a_node() -> None:
    one, ddp = (launcher(f"hydra/launcher={name}").parameters for name in ("slurm_a100", "slurm_a100_ddp"))
    resources = ("nodes", "tasks_per_node", "gpus_per_node", "cpus_per_task")
    assert [one[key] for key in resources] == [1, 1, 1, 16]
    assert [ddp[key] for key in resources] == [1, 8, 8, 8]
    assert {**one, **dict.fromkeys(resources)} == {**ddp, **dict.fromkeys(resources)}


def test_the_ddp_preset_needs_a_run_of_as_many_ranks(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    instance = launcher("hydra/launcher=slurm_a100_ddp")
    monkeypatch.setattr(instance, "run_all", lambda runs: pytest.fail("started"))
    with pytest.raises(SystemExit):
        instance.launch([["fold=0"]], 0)
    assert "set trainer.ranks=8, which is a different run" in capsys.readouterr().err


def test_max_parallel_must_be_positive() -> None:
    with pytest.raises(Exception, match="max_parallel=0 must be at least 1"):
        launcher("hydra/launcher=submitit_local", "hydra.launcher.max_parallel=0")


def test_every_sweep_names_experiments_that_exist() -> None:
    known = {file.stem for file in (resource_dir("conf") / "experiment").glob("*.yaml")}
    without_experiments = ("optuna", "modalities_design")
    files = sorted(f for f in Path(resource_dir("sweeps")).glob("*.yaml") if f.stem not in without_experiments)
    assert [f.stem for f in files] == ["demo", "full", "table1", "table2", "table3", "table3_design"]
    counts = {}
    for file in files:
        parameters: Any = OmegaConf.load(file).hydra.sweeper.params
        names = str(parameters["+experiment"]).split(",")
        assert set(names) <= known, file
        folds, rates = (len(str(parameters.get(key, 1)).split(",")) for key in ("fold", "lr"))
        counts[file.stem] = len(names) * folds * rates
    assert counts == {"demo": 15, "full": 180, "table1": 45, "table2": 90, "table3": 75, "table3_design": 15}


@pytest.mark.parametrize(
    ("installed", "message"), [(False, "needs Optuna; run `pip install"), (True, "hydra.sweeper.study_name is missing")]
)
def test_what_a_search_by_optuna_needs(monkeypatch: pytest.MonkeyPatch, installed: bool, message: str) -> None:
    monkeypatch.setattr(brats_ablate_optuna, "find_spec", lambda name: installed or None)
    sweeper = brats_ablate_optuna.OptunaStudySweeper("sqlite:///x.db", None, 1, 1, 0.0, None)
    with pytest.raises(ConfigError, match=re.escape(message)):
        sweeper.setup(hydra_context=None, task_function=lambda cfg: 0, config=OmegaConf.create())  # type: ignore[arg-type]


def test_an_objective_is_a_score_of_a_run(composition: Callable[..., DictConfig]) -> None:
    check(composition("objective=dice/ET"))
    with pytest.raises(ConfigError, match="objective=dice/XX is no score of a run; choose one of dice, dice/WT, "):
        check(composition("objective=dice/XX"))
