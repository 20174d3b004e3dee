"""Identities, a store and run directories that version 0.1.0 wrote are read and continued."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from omegaconf import DictConfig, OmegaConf
from scaffolding import CommandLine

from brats_ablate.config.check import resolve
from brats_ablate.runs.directory import RunDirectory
from brats_ablate.runs.identity import config_hash, identity
from brats_ablate.runtime.files import read_jsonl

VERSION_0_1 = Path(__file__).parents[1] / "fixtures" / "version_0_1"
RUN = (
    *("+experiment=ds_onehot", "supervision.weights=[1.0]", "trainer=demo", "trainer.epochs=8", "trainer.keep_best=1"),
    *("lr=0.002", "trainer.validate_every=1", "trainer.precision=fp32", "trainer.progress=none"),
    *("patches.shape=[16,16,16]", "encoder.channels=[8,16]", "encoder.width=1.0"),
    *("data=phantom", "data.phantom.cases=5", "data.phantom.shape=[24,24,24]"),
)
"""The command that started the runs."""
NOTICE = "brats-ablate: trainer.validate_every is validation.every now; reading trainer.validate_every=1 as validation.every=1"
CHANGED = {"ds_as_released": "supervision.upsampling=nearest"}
"""Experiments that compute something else since, and the override by which they compute what they did."""
FIRST_DEMO = ("lr=0.002", "trainer.epochs=20", "validation.every=5")
"""What `trainer=demo` was."""


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        pytest.param(*recorded, id=recorded[0], marks=pytest.mark.slow if " " in recorded[0] else ())
        for recorded in json.loads((VERSION_0_1 / "identities.json").read_text()).items()
    ],
)
def test_every_experiment_keeps_its_identity_while_it_computes_the_same(
    overrides: str, expected: str, composition: Callable[..., DictConfig]
) -> None:
    first, *others = overrides.split()
    experiment = first if "=" in first else f"+experiment={first}"
    others += FIRST_DEMO if "trainer=demo" in overrides else ()
    if first in CHANGED:
        assert config_hash(identity(resolve(composition(experiment, *others)))) != expected
        others.append(CHANGED[first])
    assert config_hash(identity(resolve(composition(experiment, *others)))) == expected


@pytest.fixture
def old_work(tmp_path: Path) -> Path:
    """The working folder as version 0.1.0 left it: a store, a finished run (fold 0), an interrupted one (fold 1)."""
    shutil.copytree(VERSION_0_1 / "phantom", tmp_path / "phantom")
    return tmp_path


def brats_ablate(work: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command_line = CommandLine(work, environment={"BRATS_ABLATE_WORK": str(work)}, stderr=subprocess.PIPE)
    return command_line.run(*arguments)


def run_of(work: Path, fold: int) -> RunDirectory:
    return RunDirectory(work / "phantom" / "runs" / "ds_onehot" / f"fold={fold}" / "lr=0.002" / "seed=0")


@pytest.mark.slow
def test_a_finished_run_is_skipped(old_work: Path) -> None:
    before = (run_of(old_work, 0).path / "metrics.jsonl").read_bytes()
    done = brats_ablate(old_work, *RUN, "fold=0")
    assert done.returncode == 0
    assert done.stderr.splitlines() == [NOTICE]
    assert "skip" in done.stdout
    assert (run_of(old_work, 0).path / "metrics.jsonl").read_bytes() == before


@pytest.mark.slow
def test_an_interrupted_run_is_continued_as_if_it_had_not_been(old_work: Path) -> None:
    run = run_of(old_work, 1)
    started = run.metrics()
    done = brats_ablate(old_work, *RUN, "fold=1")
    assert done.returncode == 0, done.stderr
    status = run.status()
    assert status.state == "finished"
    expected = {row["epoch"]: row for row in read_jsonl(VERSION_0_1 / "uninterrupted_fold=1.jsonl")}
    assert run.metrics()[: len(started)] == started
    for row in run.metrics()[len(started) :]:
        # Recorded on another machine, whose processor may round otherwise.
        assert row["loss"] == pytest.approx(expected[row["epoch"]]["loss"], rel=1e-3)
        assert row["lr"] == pytest.approx(expected[row["epoch"]]["lr"], rel=1e-12)


@pytest.mark.slow
def test_another_configuration_is_still_refused(old_work: Path) -> None:
    done = brats_ablate(
        old_work, *RUN, "fold=1", "model.gate._target_=brats_ablate.models.attention_gate.AttentionGate"
    )
    assert done.returncode != 0
    assert "model.gate._target_: brats_ablate.models.gates.NoGate ->" in done.stderr


@pytest.mark.slow
def test_its_checkpoints_predict_and_its_tables_are_made(old_work: Path) -> None:
    (run_of(old_work, 1).path / "status.json").unlink()
    case = json.loads((old_work / "phantom/prepared/folds.json").read_text())["validation"][0][0]
    done = brats_ablate(old_work, *RUN, "job=predict", f"job.cases=[{case}]", "inference=sliding_window_without_tta")
    assert done.returncode == 0, done.stderr
    assert (old_work / "phantom/predictions/ds_onehot" / f"{case}.nii.gz").exists()
    done = brats_ablate(old_work, "data=phantom", "job=tables", "job.tables=[trained]")
    assert done.returncode == 0, done.stderr
    finished = run_of(old_work, 0).status()
    assert f"{finished.best:.4f}" in (old_work / "phantom/tables/trained.md").read_text()


def test_its_recorded_configuration_names_components_that_exist(old_work: Path) -> None:
    from hydra.utils import get_class

    recorded = OmegaConf.create(run_of(old_work, 0).config())
    assert get_class(recorded.inputs._target_).__name__ == "WithForegroundMask"
