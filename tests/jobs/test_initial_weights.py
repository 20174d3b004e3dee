"""`init.checkpoint`: found, identified and checked before a run starts, and loaded once."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from omegaconf import DictConfig, OmegaConf
from scaffolding import write_run

from brats_ablate.config.check import check, resolve
from brats_ablate.errors import ConfigError
from brats_ablate.jobs.build import build_model
from brats_ablate.jobs.initial_weights import use_initial_weights
from brats_ablate.jobs.train.initialize import initialize
from brats_ablate.launch.sweep import run_directory
from brats_ablate.runs.directory import RunDirectory, RunRecord
from brats_ablate.runs.identity import differences, identity
from brats_ablate.runs.state import RunState
from brats_ablate.runs.weights_source import RECORD
from brats_ablate.runtime.files import read_json, write_text
from brats_ablate.training import checkpoint

Composed = Callable[..., DictConfig]
FinishedRun = Callable[..., RunDirectory]


def initialized(composed: Composed, source: Path, *overrides: str) -> DictConfig:
    cfg = composed("name=tuned", *overrides)
    cfg.init.checkpoint = str(source)
    use_initial_weights(cfg)
    return cfg


def weights_of(file: Path) -> dict[str, torch.Tensor]:
    weights: dict[str, torch.Tensor] = checkpoint.load(file)["model"]
    return weights


def test_the_identity_contains_the_content_and_not_the_path(
    composed: Composed, finished_run: FinishedRun, tmp_path: Path
) -> None:
    source = finished_run("name=source", dice=(0.5,))
    (best,) = source.best_checkpoints()
    shutil.copy(best, tmp_path / "moved.pt")
    first = identity(resolve(initialized(composed, source.path)))
    assert first == identity(resolve(initialized(composed, tmp_path / "moved.pt")))
    plain = identity(resolve(composed("name=tuned")))
    assert [line.split(":")[0] for line in differences(plain, first)] == ["init.checksum"]
    other = finished_run("name=other", "seed=1", dice=(0.5,))
    assert first != identity(resolve(initialized(composed, other.path)))


def test_a_changed_file_is_refused(composed: Composed, finished_run: FinishedRun) -> None:
    source = finished_run("name=source", dice=(0.5,))
    cfg = initialized(composed, source.path)
    content = checkpoint.load(source.best_checkpoints()[0])
    checkpoint.save({**content, "epoch": 7}, source.best_checkpoints()[0])
    with pytest.raises(ConfigError, match=r"has changed: its checksum is \w+, not init\.checksum="):
        use_initial_weights(cfg)


def test_weights_that_saw_the_validation_cases_are_refused(
    composed: Composed, finished_run: FinishedRun, tmp_path: Path
) -> None:
    source = finished_run("name=source", "fold=1", dice=(0.5,))
    with pytest.raises(
        ConfigError, match=r"were trained on validation cases of this run \(theirs: fold=1; here: fold="
    ):
        initialized(composed, source.path, "fold=0")
    shutil.copy(source.best_checkpoints()[0], tmp_path / "copy.pt")  # its own record counts where it is read
    cfg = initialized(composed, tmp_path / "copy.pt", "fold=0")
    with pytest.raises(ConfigError, match=r"\(theirs: fold=1; here: fold=0\)"):
        initialize(cfg, run_directory(cfg), build_model(cfg), is_main_process=True)
    assert not run_directory(cfg).path.exists()


@pytest.mark.slow
def test_what_fits_is_loaded_and_recorded(
    composed: Composed, finished_run: FinishedRun, capsys: pytest.CaptureFixture[str]
) -> None:
    source = finished_run("name=source", "seed=5", dice=(0.5,))
    (best,) = source.best_checkpoints()
    cfg = initialized(composed, source.path, "supervision=deep")
    model = build_model(cfg)
    initialize(cfg, run_directory(cfg), model, is_main_process=True)
    state, random = model.state_dict(), build_model(cfg).state_dict()
    new = sorted(name for name in state if name.startswith(("heads.1.", "heads.2.")))
    for name, tensor in state.items():
        assert torch.equal(tensor, random[name] if name in new else weights_of(best)[name]), name
    record = read_json(run_directory(cfg).path / RECORD)
    assert (record["checkpoint"], record["missing"], record["unused"]) == (str(best), new, [])
    assert record["loaded"] == sorted(weights_of(best))
    line = f"{best}: {len(record['loaded'])} of {len(state)} tensors; not in it: heads.1.bias"
    assert line in capsys.readouterr().out


def test_a_run_with_saved_state_needs_no_initial_weights(composed: Composed, finished_run: FinishedRun) -> None:
    source = finished_run("name=source", dice=(0.5,))
    cfg = initialized(composed, source.path)
    run = run_directory(cfg)
    model = build_model(cfg)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    run.last_checkpoint.parent.mkdir(parents=True)
    checkpoint.save({}, run.last_checkpoint)
    write_text(run.path / "config.yaml", OmegaConf.to_yaml(cfg, resolve=True))
    initialize(cfg, run, model, is_main_process=True)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert not (run.path / RECORD).exists()
    shutil.rmtree(source.path)
    assert identity(resolve(initialized(composed, source.path))) == identity(resolve(cfg))
    run.last_checkpoint.unlink()
    with pytest.raises(ConfigError, match="does not exist"):
        initialized(composed, source.path)


@pytest.mark.parametrize("lost", ["the best checkpoints", "the end", "the folder", "a byte"])
@pytest.mark.parametrize("state", [RunState.RUNNING, RunState.FINISHED])
def test_a_run_that_does_not_need_its_source_is_continued_or_skipped_without_it(
    composed: Composed, finished_run: FinishedRun, lost: str, state: RunState
) -> None:
    source = finished_run("name=source", dice=(0.5,))
    cfg = initialized(composed, source.path)
    run = write_run(run_directory(cfg), state)
    write_text(run.path / "config.yaml", OmegaConf.to_yaml(cfg, resolve=True))
    if state == RunState.RUNNING:
        checkpoint.save({}, run.last_checkpoint)
    if lost == "the folder":
        shutil.rmtree(source.path)
    elif lost == "the end":
        source.write_status(RunRecord(RunState.RUNNING, 1, 9))
    elif lost == "a byte":
        source.best_checkpoints()[0].write_bytes(b"PK")
    else:
        source.best_checkpoints()[0].unlink()
    assert identity(resolve(initialized(composed, source.path))) == identity(resolve(cfg))
    run.write_status(RunRecord(RunState.RUNNING, 0, 9))
    run.last_checkpoint.unlink(missing_ok=True)
    with pytest.raises(ConfigError, match=r"^init\.checkpoint="):
        initialized(composed, source.path)


def test_a_file_without_fitting_weights_is_refused(composed: Composed, tmp_path: Path) -> None:
    checkpoint.save({"epoch": 3, "w": torch.ones(2)}, tmp_path / "state.pt")
    checkpoint.save({"model": {"w": torch.ones(2)}}, tmp_path / "other.pt")
    for name, sentence in (
        ("state", r"state\.pt contains no weights"),
        ("other", r"other\.pt: none of its 1 tensors has the name and shape of one in the network"),
    ):
        cfg = initialized(composed, tmp_path / f"{name}.pt")
        with pytest.raises(ConfigError, match=sentence):
            initialize(cfg, run_directory(cfg), build_model(cfg), is_main_process=True)


def test_other_regions_are_remarked(
    composed: Composed, finished_run: FinishedRun, capsys: pytest.CaptureFixture[str]
) -> None:
    source = finished_run("name=source", dice=(0.5,))
    (best,) = source.best_checkpoints()
    content = checkpoint.load(best)
    regions = {f"data.convention.regions.{name}": [] for name in ("A", "B", "C")}
    checkpoint.save({**content, "identity": {"data.name": "elsewhere", **regions}}, best)
    cfg = initialized(composed, best)
    initialize(cfg, run_directory(cfg), build_model(cfg), is_main_process=True)
    assert "! its regions were A, B, C, here they are WT, TC, ET" in capsys.readouterr().out


def test_a_checksum_alone_is_refused(composition: Callable[..., DictConfig]) -> None:
    with pytest.raises(ConfigError, match=r"init\.checksum is set without init\.checkpoint"):
        check(composition("init.checksum=abc"))
    with pytest.raises(ConfigError, match=r"init\.checkpoint=3 must be a run directory or a checkpoint file"):
        check(composition("init.checkpoint=3"))
    with pytest.raises(ConfigError, match=r"init\.path is not a known key"):
        check(composition("+init.path=a"))
