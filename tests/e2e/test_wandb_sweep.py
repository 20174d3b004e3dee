"""The W&B sweep of docs/tracking.md: W&B's own agent builds the command, which this program accepts."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig
from wandb import wandb_agent

from brats_ablate.config.arguments import current_keys, flags_first, quoted_paths, unknown_flag
from brats_ablate.config.check import check
from brats_ablate.launch.sweep import run_directory
from brats_ablate.runs.directory import Coordinates

DOCS = Path(__file__).parents[2] / "docs" / "tracking.md"


def documented_sweep() -> dict[str, Any]:
    (block,) = re.findall(r"^```yaml\n(.*?)^```", DOCS.read_text(encoding="utf-8"), re.M | re.S)
    sweep: dict[str, Any] = yaml.safe_load(block)
    return sweep


def agent_command(sweep: dict[str, Any], values: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the command that W&B's agent starts for a run with these values of the sweep's parameters."""
    started: list[list[str]] = []

    class Process:
        def __init__(self, command: list[str], **_: Any) -> None:
            started.append(command)

    monkeypatch.setattr(wandb_agent, "AgentProcess", Process)
    agent = wandb_agent.Agent.__new__(wandb_agent.Agent)
    agent._sweep_command, agent._function, agent._in_jupyter = list(sweep["command"]), None, False
    agent._run_processes, agent._forward_signals = {}, False
    arguments = {name: {"value": value} for name, value in values.items()}
    agent._command_run({"run_id": "r4nd0m", "program": sweep["program"], "args": arguments})
    return started[0]


@pytest.fixture(autouse=True)
def _agent_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The agent writes into its folder and sets variables for the run."""
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    for name in ("WANDB_SWEEP_ID", "WANDB_RUN_ID", "WANDB_SWEEP_PARAM_PATH"):
        monkeypatch.setenv(name, "s")


def overrides_of(command: list[str]) -> list[str]:
    """Return what the entry point passes to Hydra, after checking how it is started."""
    assert command[:4] == ["/usr/bin/env", "python", "-m", "brats_ablate"]
    assert unknown_flag(command[4:]) is None
    overrides = flags_first(quoted_paths(current_keys(command[4:])))
    OverridesParser.create().parse_overrides(overrides)
    return overrides


@pytest.mark.slow
def test_every_run_of_the_documented_sweep_is_a_run_of_its_own(
    composition: Callable[..., DictConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep = documented_sweep()
    parameters = {name: each["values"] for name, each in sweep["parameters"].items()}
    ends = [{name: values[i] for name, values in parameters.items()} for i in (0, -1)]
    runs = []
    for values in ends:
        cfg = composition(*overrides_of(agent_command(sweep, values, monkeypatch)))
        check(cfg)
        assert cfg.tracker._target_ == "brats_ablate.tracking.wandb.WandbTracker"
        assert cfg.tracker.project == sweep["project"]
        runs.append(run_directory(cfg).coordinates)
    assert runs == [Coordinates("baseline", 0, 5e-4, 0), Coordinates("ds", 4, 9e-4, 0)]


@pytest.mark.slow
def test_other_settings_get_a_name_by_the_documented_line(
    composition: Callable[..., DictConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    (line,) = re.findall(r"`- (name=\$\{oc\.env:WANDB_RUN_ID\})`", DOCS.read_text(encoding="utf-8"))
    sweep = documented_sweep()
    sweep["command"].append(line)
    values = {"optimizer.weight_decay": 1e-05, "loss": "focal_dice"}
    cfg = composition(*overrides_of(agent_command(sweep, values, monkeypatch)))
    check(cfg)
    assert (cfg.name, cfg.optimizer.weight_decay) == ("r4nd0m", 1e-5)
    assert "Focal" in cfg.loss.voxelwise._target_


@pytest.mark.slow
def test_a_run_of_the_agent_is_trained_under_the_id_that_the_agent_chose(
    brats_ablate: Callable[..., Any], work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = agent_command(documented_sweep(), {"+experiment": "ds", "fold": 1, "lr": 0.01}, monkeypatch)
    overrides = [each for each in overrides_of(command) if each != "data=brats21"]
    parameters = work / "wandb" / "sweep-s" / "config-r4nd0m.yaml"
    assert parameters.exists()
    done = brats_ablate(*overrides, WANDB_MODE="offline", WANDB_RUN_ID="r4nd0m", WANDB_SWEEP_PARAM_PATH=str(parameters))
    assert done.returncode == 0, done.stdout
    run = work / "phantom/runs/ds/fold=1/lr=0.01/seed=0"
    assert [file.name for file in run.glob("wandb/offline-run-*/*.wandb")] == ["run-r4nd0m.wandb"]
