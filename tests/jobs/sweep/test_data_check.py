"""A sweep on data that cannot be trained on is refused by every launcher, in one sentence, before anything begins."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from omegaconf import DictConfig

from brats_ablate.config.check import resolve
from brats_ablate.errors import ConfigError
from brats_ablate.jobs.build import open_store
from brats_ablate.jobs.sweep import data_check
from brats_ablate.jobs.train import run_directory
from brats_ablate.runs.directory import FINISHED, INTERRUPTED, RunRecord
from brats_ablate.runs.identity import identity

Command = Callable[..., subprocess.CompletedProcess[str]]
SWEEP = ("-m", "+experiment=baseline,ds", "fold=0,1")


def everything(folder: Path) -> set[Path]:
    return set(folder.rglob("*"))


@pytest.mark.parametrize("launcher", ["serial", "submitit_local", "slurm"])
def test_data_that_is_not_prepared(brats_ablate: Command, work: Path, launcher: str) -> None:
    before = everything(work)
    done = brats_ablate(*SWEEP, f"hydra/launcher={launcher}", "paths.prepared=${paths.work}/nothing")
    assert done.returncode == 2
    folder = work / "phantom" / "nothing"
    assert done.stdout == (
        f"brats-ablate: {folder} is not prepared; run `python -m brats_ablate job=prepare data=phantom` first\n"
    )
    assert everything(work) == before


def test_data_that_is_not_whole(brats_ablate: Command, work: Path) -> None:
    prepared = work / "phantom" / "prepared"
    source = prepared.resolve()
    prepared.unlink()
    prepared.mkdir()
    for name in ("cohort.json", "records.jsonl", "folds.json"):
        (prepared / name).symlink_to(source / name)
    (prepared / "cases").mkdir()
    before = everything(work)
    done = brats_ablate(*SWEEP)
    assert done.returncode == 2
    assert done.stdout.startswith(f"brats-ablate: {prepared}: 6 cases are missing (")
    assert done.stdout.count("\n") == 1
    assert everything(work) == before


def begun(cfg: DictConfig, fingerprint: str, state: str) -> Path:
    run = run_directory(cfg)
    run.path.mkdir(parents=True)
    run.write_manifest({"identity": identity(resolve(cfg)), "data_fingerprint": fingerprint})
    run.write_status(RunRecord(state, 1, 2))
    return run.path


def test_a_run_that_was_begun_on_other_data(
    brats_ablate: Command, composed: Callable[..., DictConfig], work: Path
) -> None:
    cfg = composed("+experiment=ds", "fold=1")
    path = begun(cfg, "0" * 64, INTERRUPTED)
    now = open_store(cfg).fingerprint[:12]
    before = everything(work)
    done = brats_ablate(*SWEEP)
    assert done.returncode == 2
    assert done.stdout == (
        f"brats-ablate: {path} was begun on other data than {work}/phantom/prepared now holds (fingerprint "
        f"000000000000, now {now}); delete that directory to train anew, or restore the data\n"
    )
    assert everything(work) == before


def test_finished_runs_and_other_jobs_are_let_be(composed: Callable[..., DictConfig]) -> None:
    cfg = composed("+experiment=ds", "fold=1")
    begun(cfg, "0" * 64, FINISHED)
    data_check.refuse_unfit_data([cfg, composed("job=tables", "paths.prepared=/nothing")])


def test_each_data_set_is_looked_at_once(
    composed: Callable[..., DictConfig], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    looked = []
    monkeypatch.setattr(data_check, "check_data", lambda cfg: looked.append(cfg.paths.prepared))
    sweep = [composed("+experiment=ds", f"fold={fold}") for fold in (0, 1, 2)]
    data_check.refuse_unfit_data(sweep)
    assert len(looked) == 1
    with pytest.raises(ConfigError, match="is not prepared"):
        data_check.refuse_unfit_data([*sweep, composed("+experiment=ds", f"paths.prepared={tmp_path / 'other'}")])
    assert len(looked) == 3
