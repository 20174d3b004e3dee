"""Every launcher refuses a sweep on missing, incomplete or changed data, in one sentence, before anything starts."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from omegaconf import DictConfig
from scaffolding import write_run

from brats_ablate.config.check import resolve
from brats_ablate.errors import ConfigError
from brats_ablate.jobs.build import open_store
from brats_ablate.jobs.sweep import data_check
from brats_ablate.launch.sweep import run_directory
from brats_ablate.runs.identity import identity
from brats_ablate.runs.state import RunState

Command = Callable[..., subprocess.CompletedProcess[str]]
SWEEP = ("-m", "+experiment=baseline,ds", "fold=0,1")


def all_files(folder: Path) -> set[Path]:
    return set(folder.rglob("*"))


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["serial", "submitit_local", "slurm"])
def test_data_that_is_not_prepared(brats_ablate: Command, work: Path, launcher: str) -> None:
    before = all_files(work)
    done = brats_ablate(*SWEEP, f"hydra/launcher={launcher}", "paths.prepared=${paths.work}/nothing")
    assert done.returncode == 2
    folder = work / "phantom" / "nothing"
    assert done.stdout == (
        f"brats-ablate: {folder} is not prepared; run `python -m brats_ablate job=prepare data=phantom "
        "data.phantom.cases=6 'data.phantom.shape=[32,32,24]' data.n_folds=3 'paths.prepared=${paths.work}/nothing'` "
        "first\n"
    )
    assert all_files(work) == before


@pytest.mark.slow
def test_incomplete_data(brats_ablate: Command, work: Path) -> None:
    prepared = work / "phantom" / "prepared"
    source = prepared.resolve()
    prepared.unlink()
    prepared.mkdir()
    for name in ("cohort.json", "records.jsonl", "folds.json"):
        (prepared / name).symlink_to(source / name)
    (prepared / "cases").mkdir()
    before = all_files(work)
    done = brats_ablate(*SWEEP)
    assert done.returncode == 2
    assert done.stdout.startswith(f"brats-ablate: {prepared}: 6 cases are missing (")
    assert done.stdout.count("\n") == 1
    assert all_files(work) == before


def write(cfg: DictConfig, fingerprint: str, state: RunState) -> Path:
    manifest = {"identity": identity(resolve(cfg)), "data_fingerprint": fingerprint}
    return write_run(run_directory(cfg), state, epochs=2, manifest=manifest).path


@pytest.mark.slow
def test_data_that_changed_since_a_run_started(
    brats_ablate: Command, composed: Callable[..., DictConfig], work: Path
) -> None:
    cfg = composed("+experiment=ds", "fold=1")
    path = write(cfg, "0" * 64, RunState.INTERRUPTED)
    current = open_store(cfg).fingerprint[:12]
    before = all_files(work)
    done = brats_ablate(*SWEEP)
    assert done.returncode == 2
    assert done.stdout == (
        f"brats-ablate: {path} was started with different data than {work}/phantom/prepared now contains (fingerprint "
        f"000000000000, now {current}); delete that directory to train again, or restore the data\n"
    )
    assert all_files(work) == before


def test_finished_runs_and_other_jobs_are_not_checked(composed: Callable[..., DictConfig]) -> None:
    cfg = composed("+experiment=ds", "fold=1")
    write(cfg, "0" * 64, RunState.FINISHED)
    data_check.check_sweep_data([cfg, composed("job=tables", "paths.prepared=/nothing")])


def test_a_run_that_always_starts_from_the_beginning_may_have_had_other_data(
    composed: Callable[..., DictConfig],
) -> None:
    cfg = composed("+experiment=ds", "fold=1", "trainer.repeat_first_batch=true")
    write(cfg, "0" * 64, RunState.INTERRUPTED)
    data_check.check_sweep_data([cfg])


def test_each_data_set_is_checked_once(
    composed: Callable[..., DictConfig], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    checked = []
    monkeypatch.setattr(data_check, "check_data", lambda cfg: checked.append(cfg.paths.prepared))
    sweep = [composed("+experiment=ds", f"fold={fold}") for fold in (0, 1, 2)]
    data_check.check_sweep_data(sweep)
    assert len(checked) == 1
    with pytest.raises(ConfigError, match="is not prepared"):
        data_check.check_sweep_data([*sweep, composed("+experiment=ds", f"paths.prepared={tmp_path / 'other'}")])
    assert len(checked) == 3


def test_finished_runs_on_other_data_are_named_and_kept(
    composed: Callable[..., DictConfig], capsys: pytest.CaptureFixture[str]
) -> None:
    sweep = [composed("+experiment=baseline", f"fold={fold}") for fold in (0, 1, 2)]
    fingerprint = open_store(sweep[0]).fingerprint
    for cfg, recorded in zip(sweep, ("0" * 64, fingerprint, "1" * 64), strict=True):
        write(cfg, recorded, RunState.FINISHED)
    data_check.check_sweep_data(sweep)
    printed = capsys.readouterr().out
    first = str(run_directory(sweep[0]).coordinates)
    assert printed.startswith(
        f"{first} and 1 more: finished on different data than what is prepared now; give new runs"
    )
    assert printed.count("\n") == 1
