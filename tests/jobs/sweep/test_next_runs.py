"""`job=plan job.detect=…` as a command: what it prints, and that Hydra composes the sweep that it writes."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from scaffolding import CommandLine

from brats_ablate.runs.directory import Coordinates, RunDirectory, RunRecord, find_runs
from brats_ablate.runs.state import RunState

RATES = (5e-4, 7e-4)
PLAN = ("job=plan", "job.tables=[demo]")


@pytest.fixture(name="command")
def _command(tmp_path: Path) -> CommandLine:
    shutil.copytree(Path(__file__).parents[2] / "fixtures" / "experiments", tmp_path / "experiments")
    draw = np.random.default_rng(0)
    for name in ("baseline", "ds"):
        for fold in range(5):
            base = np.random.default_rng(fold).uniform(0.6, 0.9, 30)
            for lr in RATES:
                run = RunDirectory.at(tmp_path / "work" / "phantom" / "runs", Coordinates(name, fold, lr, 0))
                run.path.mkdir(parents=True)
                dice = base + draw.normal(0, 0.02, 30) + draw.normal(0, 0.01)
                rows = [
                    {"epoch": 1, "case": f"c{fold}{i:02d}", "WT": d, "TC": d, "ET": d}
                    for i, d in enumerate(dice.tolist())
                ]
                run.append("metrics.jsonl", [{"epoch": 1, "step": 1, "dice": 0.8, "seconds": 3600.0}])
                run.append("cases.jsonl", rows)
                run.write_manifest({"world_size": 2})
                run.write_status(RunRecord(RunState.FINISHED, 1, 1, 0.8))
    environment = {"BRATS_ABLATE_WORK": str(tmp_path / "work"), "COLUMNS": "160"}
    return CommandLine(tmp_path, environment=environment)


@pytest.mark.slow
def test_a_plan_is_a_sweep_that_can_be_planned_again(tmp_path: Path, command: CommandLine) -> None:
    printed = command.run(*PLAN, "data=phantom", "trainer.epochs=1", "job.detect=0.013").stdout
    file = tmp_path / "sweeps" / "demo_next.yaml"
    written = yaml.safe_load(file.read_text())
    params = dict(written["hydra"]["sweeper"]["params"])
    assert written["defaults"] == ["config", "_self_"]
    seeds = params.pop("seed").split(",")
    assert params == {
        "data": "phantom", "trainer.epochs": "1", "+experiment": "baseline,ds", "fold": "0,1,2,3,4",
        "lr": "0.0005,0.0007",
    }  # fmt: skip
    missing = 2 * 5 * 2 * (len(seeds) - 1)  # seed 0 is finished
    assert f"{missing} training runs, about {2 * missing}.0 GPU-hours: python -m" in printed
    (pasted,) = re.findall(r"python -m brats_ablate (.*)", printed)
    again = command.run(*shlex.split(pasted), *PLAN, "+experiment=ds", "fold=0", "seed=0", "job.detect=0.013")
    assert again.returncode == 0, again.stdout
    assert yaml.safe_load(file.read_text()) == written


@pytest.mark.slow
def test_a_plan_of_a_grid_is_the_commands_that_trained_it(tmp_path: Path, command: CommandLine) -> None:
    runs = tmp_path / "work" / "phantom" / "runs"
    names = {"baseline": ("default", "inputs=plain"), "ds": ("inputs-onehot", "inputs=onehot")}
    for before, (name, option) in names.items():
        (runs / before).rename(runs / name)
        for run in find_runs(runs):
            if run.coordinates.name == name:
                run.write_manifest({"options": [option, "data=phantom"]})
    for rate in (runs / "default").glob("fold=*/lr=0.0007"):  # which the other column lacks, so that it is not planned
        shutil.copytree(rate, rate.with_name("lr=0.0009"))
    (tmp_path / "experiments" / "grid.yaml").write_text(
        "title: Grid\nbaseline: default\ncolumns:\n"
        "- {title: default, experiment: default}\n- {title: onehot, experiment: inputs-onehot}\n"
    )
    printed = command.run("job=plan", "job.tables=[grid]", "data=phantom", "job.detect=0.013").stdout
    lines = re.findall(r"python -m brats_ablate (.*)", printed)
    assert [line.split(" fold=")[0] for line in lines] == [
        "data=phantom inputs=plain name=default lr=0.0005,0.0007",
        "data=phantom inputs=onehot name=inputs-onehot lr=0.0005,0.0007",
    ]
    assert not (tmp_path / "sweeps").exists()
    seeds = len(re.findall(r"seed=(\S+)", lines[0])[0].split(","))
    assert f"{2 * 5 * 2 * (seeds - 1)} training runs, " in printed  # seed 0 is finished
    for line in lines:
        composed = command.run(*shlex.split(line), "job=status")
        assert composed.returncode == 0, composed.stdout


@pytest.mark.slow
def test_a_plan_with_a_deletion_is_a_sweep_without_that_key(tmp_path: Path, command: CommandLine) -> None:
    printed = command.run(*PLAN, "data=phantom", "~augment.transforms.noise", "job.detect=0.013").stdout
    (pasted,) = re.findall(r"python -m brats_ablate (.*)", printed)
    composed = command.run(*shlex.split(pasted), "fold=0", "seed=0", "job=status")
    assert composed.returncode == 0, composed.stdout
    file = tmp_path / "sweeps" / "demo_next.yaml"
    file.write_text(file.read_text().replace("transforms.noise", "transforms.nothing"))
    refused = command.run(*shlex.split(pasted), "fold=0", "seed=0", "job=status")
    assert refused.returncode == 2, "the key is deleted from every run"
    assert "augment.transforms.nothing" in refused.stdout


@pytest.mark.slow
def test_a_plan_from_an_installed_sweep_is_found_beside_it(tmp_path: Path, command: CommandLine) -> None:
    """The folder of the plan is a `sweeps` of the user's own, which does not have the sweep that it starts from."""
    sweep = ("-cd", "sweeps", "-cn", "table2")
    for config in ("table2", "demo_next"):  # the second is the plan of a plan
        planned = command.run(*sweep[:3], config, *PLAN, "data=phantom", "trainer.epochs=1", "job.detect=0.013")
        assert planned.returncode == 0, planned.stdout
        written = yaml.safe_load((tmp_path / "sweeps" / "demo_next.yaml").read_text())
        assert written["defaults"] == ["table2", "_self_"]
        composed = command.run(*sweep[:3], "demo_next", "fold=0", "job=status")
        assert composed.returncode == 0, composed.stdout
    assert command.run(*sweep, "fold=0", "job=status").returncode == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["data=phantom", "job.detect=0"], "job.detect=0 must be a difference of mean Dice above 0"),
        (["job.detect=0.013"], "to plan from; train some first"),
    ],
)
def test_what_cannot_be_planned_is_one_sentence(command: CommandLine, overrides: list[str], message: str) -> None:
    done = command.run(*PLAN, *overrides)
    assert message in done.stdout
    assert len(done.stdout.splitlines()) == 1


@pytest.mark.slow
def test_designs_are_compared_by_the_studys_own_runs(command: CommandLine) -> None:
    """Its runs took an hour on two devices; ten of them, one for each experiment and fold, take 20 GPU-hours."""
    line = ("job=plan", "job.compare=true", "job.detect=0.5", "job.tables=[demo]", "data=phantom", "trainer.epochs=1")
    printed = command.run(*line).stdout
    assert "Variances: of this study's runs." in printed
    assert "Times: of this study's finished runs" in printed
    assert "Cheapest that detects 0.5: 1 run per fold, 3 folds" in " ".join(printed.split())
    rows = [[cell.strip() for cell in row.split("│")] for row in printed.splitlines()]
    (ten,) = (row for row in rows if row[1:4] == ["1", "5", "10"])
    assert ten[4] == "20.0"
