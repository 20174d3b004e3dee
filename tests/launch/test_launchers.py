"""The launchers as Hydra sees them: composing, checking, refusing; nothing is started here."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.plugins import Plugins
from hydra.types import HydraContext, RunMode
from omegaconf import DictConfig, OmegaConf

from brats_ablate.config.locations import resource_dir
from brats_ablate.runtime import signals


def launcher(*overrides: str) -> Any:
    """The launcher of a multirun with these overrides, set up as Hydra does it."""
    with initialize_config_dir(str(resource_dir("conf")), version_base="1.3"):
        hydra = GlobalHydra.instance().hydra
        assert hydra is not None
        config = hydra.compose_config("config", ["data=phantom", *overrides], run_mode=RunMode.MULTIRUN)
        context = HydraContext(config_loader=hydra.config_loader, callbacks=None)  # type: ignore[arg-type]
        found: Any = Plugins.instance().instantiate_launcher(
            hydra_context=context, task_function=lambda cfg: 0, config=config
        )
        found.loader = hydra.config_loader
    return found


def grid(*experiments: str, folds: int = 2) -> list[list[str]]:
    rates = ("5e-4", "9e-4")
    return [[f"+experiment={e}", f"fold={f}", f"lr={lr}"] for e in experiments for f in range(folds) for lr in rates]


@pytest.mark.parametrize("name", ["serial", "submitit_local", "local_gpus", "slurm", "slurm_a100"])
def test_every_launcher_can_be_chosen(name: str) -> None:
    assert launcher(f"hydra/launcher={name}").gpus_per_run() == (8 if name == "slurm_a100" else 1)


def test_setting_the_coordinates_afterwards_composes_what_hydra_composes() -> None:
    found = launcher()
    overrides = grid("baseline", "ds_deeper_onehot")
    composed = found._compose(overrides, 0)
    assert len(composed) == 8
    for each, one in zip(composed, overrides, strict=True):
        expected = found.loader.load_sweep_config(found.config, one)
        for tree in (each.cfg, expected):
            assert isinstance(tree, DictConfig)
        mine, its = (OmegaConf.to_container(c, resolve=False) for c in (each.cfg, expected))
        assert isinstance(mine, dict)
        assert isinstance(its, dict)
        del mine["hydra"], its["hydra"]
        assert mine == its


def test_one_wrong_configuration_stops_the_sweep_before_anything_starts(capsys: pytest.CaptureFixture[str]) -> None:
    found = launcher()
    found.run_all = lambda runs: pytest.fail("started")
    with pytest.raises(SystemExit) as stopped:
        found.launch([["fold=0"], ["fold=9"]], 0)
    assert stopped.value.code == 2
    assert "fold=9 does not exist" in capsys.readouterr().err


@pytest.mark.slow
def test_runs_one_after_the_other_end_with_what_became_of_each(fake_study: Any) -> None:
    sweep = ("+experiment=baseline", "fold=0,1,2")
    code, text = fake_study.run(*sweep, faults={"baseline/1": "raises"})
    assert code == 1
    table = text.splitlines()[-5:]
    assert table[0].split() == ["baseline", "fold=0", "lr=0.0007", "seed=0", "finished", "4/4", "0.5000"]
    assert table[1].split() == ["baseline", "fold=2", "lr=0.0007", "seed=0", "finished", "4/4", "0.5200"]
    assert table[2].split()[1:6] == ["fold=1", "lr=0.0007", "seed=0", "failed", "2/4"]
    assert table[2].endswith("the loss is not finite; lower lr")
    assert table[3:] == ["3 runs: 2 finished, 1 failed", "the same command runs again what is not finished"]

    process = fake_study.start("+experiment=baseline", "fold=1,3", "+job.steps=2000")
    fake_study.wait_until(lambda: fake_study.runs()[1].status().state == "running", process)
    process.send_signal(signal.SIGINT)
    text, _ = process.communicate(timeout=60)
    assert process.returncode == signals.EXIT_CODE
    assert text.splitlines()[-2] == "2 runs: 1 not started, 1 interrupted"

    code, text = fake_study.run(*sweep)
    assert code == 0, text
    assert text.splitlines()[-1] == "3 runs: 2 finished before, 1 finished"


def test_site_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BRATS_ABLATE_SLURM_PARTITION", "a100")
    parameters = launcher("hydra/launcher=slurm_a100", "hydra.launcher.account=lab").parameters
    assert parameters["slurm_partition"] == "a100"
    assert parameters["slurm_account"] == "lab"
    assert "slurm_qos" not in parameters
    assert parameters["tasks_per_node"] == parameters["gpus_per_node"] == 8
    assert parameters["slurm_additional_parameters"] == {"requeue": True}


def test_more_runs_at_once_than_none_are_asked_for() -> None:
    with pytest.raises(Exception, match="max_parallel=0 must be at least 1"):
        launcher("hydra/launcher=submitit_local", "hydra.launcher.max_parallel=0")


def test_every_sweep_names_experiments_that_exist() -> None:
    known = {file.stem for file in (resource_dir("conf") / "experiment").glob("*.yaml")}
    files = sorted(Path(resource_dir("sweeps")).glob("*.yaml"))
    assert [f.stem for f in files] == ["demo", "full", "table1", "table2", "table3"]
    counts = {}
    for file in files:
        parameters: Any = OmegaConf.load(file).hydra.sweeper.params
        names = str(parameters["+experiment"]).split(",")
        assert set(names) <= known, file
        folds, rates = (len(str(parameters.get(key, 1)).split(",")) for key in ("fold", "lr"))
        counts[file.stem] = len(names) * folds * rates
    assert counts == {"demo": 10, "full": 180, "table1": 45, "table2": 90, "table3": 75}
