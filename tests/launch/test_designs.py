"""Designs and the tables of sweeps, by the command line."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from omegaconf import DictConfig, open_dict
from scaffolding import listed_experiments

from brats_ablate.config.check import resolve
from brats_ablate.config.design import Design, combination_name
from brats_ablate.config.locations import resource_dir
from brats_ablate.jobs.sweep.specs import sweep_specs
from brats_ablate.runs.identity import config_hash, identity

Command = Callable[..., subprocess.CompletedProcess[str]]
FACTORS = (
    "+design.factors.focal.loss=focal_dice",
    "+design.factors.onehot.inputs=onehot",
    "+design.factors.deep.supervision=deep",
)


@pytest.mark.slow
def test_a_design_names_its_runs(brats_ablate: Command) -> None:
    full = listed_experiments(brats_ablate("design=full", *FACTORS, "job=status", "-m"))
    assert full == [
        "default",
        "focal",
        "onehot",
        "deep",
        "focal_onehot",
        "focal_deep",
        "onehot_deep",
        "focal_onehot_deep",
    ]
    of_two = listed_experiments(
        brats_ablate("+experiment=ds,baseline", "design=leave_one_out", *FACTORS[:2], "job=status", "-m")
    )
    assert of_two == [f"{base}{on}" for base in ("ds", "baseline") for on in ("_focal_onehot", "_focal", "_onehot")]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("design=full", *FACTORS), "a design is a sweep over its combinations; add -m"),
        (("design=full", *FACTORS, "loss=bce_dice", "-m"), "loss is set by a factor of the design, and again here"),
        (("design=full", *FACTORS, "inputs=plain,onehot", "-m"), "inputs is set by a factor of the design, and again"),
        ((*FACTORS, "-m", "fold=0,1"), "design.factors has no design; add design=one_at_a_time"),
        (("design=leave_one_out", FACTORS[0], "-m"), "design=leave_one_out needs 2 factors or more"),
        (("design=half", *FACTORS, "-m"), "design=half"),
    ],
)
def test_a_wrong_design_starts_nothing(
    brats_ablate: Command, work: Path, arguments: tuple[str, ...], sentence: str
) -> None:
    done = brats_ablate(*arguments)
    assert done.returncode == 2, done.stdout
    assert sentence in done.stdout
    assert not (work / "phantom" / "runs").exists()


@pytest.mark.parametrize(
    ("name", "overrides"),
    [
        ("ds_deeper", ("encoder=depth7",)),
        ("ds_channels", ("encoder=channels6",)),
        ("ds_onehot", ("inputs=onehot",)),
        ("ds_deeper_onehot", ("encoder=depth7", "inputs=onehot")),
        ("ds_deeper_channels_onehot", ("encoder=channels7", "inputs=onehot")),
    ],
)
def test_table_3_as_a_design_continues_the_papers_experiments(
    composition: Callable[..., DictConfig], name: str, overrides: tuple[str, ...]
) -> None:
    """What the design overrides in `ds` is the experiment of that name, to the identity of its runs."""
    sweep = yaml.safe_load((resource_dir("sweeps") / "table3_design.yaml").read_text(encoding="utf-8"))
    design = Design.from_config(sweep["design"] | {"kind": "full"})
    on = next(on for on in design.combinations if combination_name("ds", on) == name)
    assert {f"{key}={value}" for key, value in design.overrides(on).items()} == set(overrides)
    combined = composition("+experiment=ds", *overrides, f"name={name}")
    assert config_hash(identity(resolve(combined))) == config_hash(
        identity(resolve(composition(f"+experiment={name}")))
    )


@pytest.mark.slow(minutes=3)
def test_a_full_design_is_trained_and_its_effects_are_tested(brats_ablate: Command, work: Path) -> None:
    command = ("design=full", *FACTORS[:2], "fold=0,1,2", "-m")
    trained = brats_ablate(*command)
    assert trained.returncode == 0, trained.stdout
    for text in ("focal + onehot", "Effects", "focal × onehot", "given all others", "job=report"):
        assert text in trained.stdout, text
    assert "12 finished" in trained.stdout
    again = brats_ablate(*command, "job=tables")
    assert again.returncode == 0, again.stdout
    tables = work / "phantom" / "tables"
    spec = yaml.safe_load((tables / "sweeps" / "sweep_default.yaml").read_text(encoding="utf-8"))
    assert [column["factors"] for column in spec["columns"]] == [[], ["focal"], ["onehot"], ["focal", "onehot"]]
    effects = (tables / "sweep_default_effects.csv").read_text(encoding="utf-8")
    assert effects.count("\n") == 6
    alone = brats_ablate("job=tables")  # knows the table of the sweep, too
    assert "Effects" in alone.stdout


@pytest.mark.slow(minutes=3)
def test_leaving_each_of_three_factors_out_is_four_runs_and_their_table(brats_ablate: Command) -> None:
    trained = brats_ablate("design=leave_one_out", *FACTORS, "hydra/launcher=submitit_local", "-m")
    assert trained.returncode == 0, trained.stdout
    assert "4 runs: 4 finished" in trained.stdout
    for text in ("all", "without focal", "without onehot", "without deep"):
        assert text in trained.stdout, text


@pytest.mark.slow
def test_modalities_beside_t1ce_as_a_design(brats_ablate: Command) -> None:
    names = listed_experiments(brats_ablate("-cd", "sweeps", "-cn", "modalities_design", "fold=0", "job=status"))
    assert names[0] == "t1ce"
    assert len(names) == len(set(names)) == 8
    assert names[-1] == "t1ce_flair_t1_t2"


def test_a_design_of_two_experiments_has_two_tables(composed: Callable[..., DictConfig]) -> None:
    sweep = []
    for name in ("ds", "ds_onehot", "baseline", "baseline_onehot"):
        cfg = composed("+experiment=ds", "design=full", "+design.factors.onehot.inputs=onehot", f"name={name}")
        with open_dict(cfg):
            cfg.design.on = ["onehot"] if "onehot" in name else []
        sweep.append(cfg)
    specs = sweep_specs(sweep, "mine")
    assert [spec.name for spec in specs] == ["sweep_ds", "sweep_baseline"]
    assert [spec.baseline for spec in specs] == ["ds", "baseline"]
    assert [spec.name for spec in sweep_specs(sweep[:2], "mine")] == ["mine"]
