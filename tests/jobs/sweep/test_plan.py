from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from omegaconf import DictConfig, OmegaConf

from brats_ablate.config.check import resolve
from brats_ablate.errors import RunFailed
from brats_ablate.jobs.sweep import plan
from brats_ablate.jobs.sweep.dry_run import SingleStepLoader
from brats_ablate.launch.sweep import run_directory
from brats_ablate.runs.directory import FINISHED, INTERRUPTED, RunRecord
from brats_ablate.runs.identity import identity

MEASURED: dict[str, Any] = {
    "step_s": 2.0,
    "case_s": 10.0,
    "memory_bytes": 2**30,
    "disk_bytes": 3000,
    "steps_per_epoch": 100,
    "validation_cases": 20,
    "device": "cuda",
}


@pytest.fixture
def sweep(tmp_path: Path) -> list[DictConfig]:
    from hydra import compose, initialize_config_dir

    from brats_ablate.config.locations import resource_dir

    with initialize_config_dir(str(resource_dir("conf")), version_base="1.3"):
        base = compose(
            "config", ["data=phantom", f"paths.runs={tmp_path}", "trainer.epochs=10", "trainer.validate_every=5"]
        )
    found = []
    for name in ("a", "b"):
        for fold in range(2):
            cfg = OmegaConf.merge(base, {"name": name, "fold": fold})
            assert isinstance(cfg, DictConfig)
            found.append(cfg)
    return found


def set_status(cfg: DictConfig, status: RunRecord) -> None:
    run = run_directory(cfg)
    run.write_manifest({"identity": identity(resolve(cfg))})
    run.write_status(status)


def test_hours_count_what_is_left_and_the_devices_of_a_run(
    sweep: list[DictConfig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    set_status(sweep[0], RunRecord(FINISHED, 10, 10, 0.9))
    set_status(sweep[1], RunRecord(INTERRUPTED, 4, 10))
    monkeypatch.setattr(plan, "_measure", lambda cfg: (MEASURED, None))
    plan.run(sweep[0], dry_run=True, json=str(tmp_path / "plan.json"), sweep=sweep, ranks=4)
    facts = json.loads((tmp_path / "plan.json").read_text())
    a, b = facts["experiments"]
    # On 4 ranks an epoch has 25 steps of 2 s, and every fifth epoch 5 cases of 10 s: 50 + 50 / 5 s.
    assert a["epoch_s"] == b["epoch_s"] == pytest.approx(60)
    assert (a["finished"], a["epochs_left"], b["epochs_left"]) == (1, 6, 20)
    assert a["device_hours"] == pytest.approx(6 * 60 * 4 / 3600)
    assert b["device_hours"] == pytest.approx(20 * 60 * 4 / 3600)
    assert facts["needed_bytes"] == 3 * 3000
    assert "4 runs, 1 finished, 3 to do, 4 rank(s) each" in capsys.readouterr().out


def test_an_experiment_that_would_crash_is_named(
    sweep: list[DictConfig], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(plan, "_measure", lambda cfg: (None, "out of memory") if cfg.name == "b" else (MEASURED, None))
    with pytest.raises(RunFailed, match=r"^b would fail"):
        plan.run(sweep[0], dry_run=True, json=None, sweep=sweep)
    assert "b would fail: out of memory" in capsys.readouterr().out


def test_a_disk_that_is_too_small_is_told(sweep: list[DictConfig], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "_measure", lambda cfg: (MEASURED | {"disk_bytes": 2**60}, None))
    with pytest.raises(RunFailed, match="free space"):
        plan.run(sweep[0], dry_run=True, json=None, sweep=sweep)


def test_without_a_dry_run_it_only_counts(sweep: list[DictConfig], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "_measure", lambda cfg: pytest.fail("measured"))
    plan.run(sweep[0], dry_run=False, json=None, sweep=sweep)


def test_a_dry_run_that_dies_or_complains_gives_its_reason(sweep: list[DictConfig]) -> None:
    """No data is prepared: the dry run's own process finds that out."""
    OmegaConf.update(sweep[0], "paths.prepared", "/nonexistent/prepared")
    measured, fault = plan._measure(sweep[0])
    assert measured is None
    assert fault is not None
    assert "job=prepare" in fault


def test_an_epoch_of_the_dry_run_has_one_step_and_ends_its_reading() -> None:
    ended = []

    class Loader:
        def epoch(self, epoch: int, start_step: int) -> Iterator[int]:
            try:
                yield from (10 * epoch, 10 * epoch + 1)
            finally:
                ended.append(epoch)

    one = SingleStepLoader(Loader())
    assert list(one.epoch(0)) == [0]
    assert list(one.epoch(3)) == [30]
    assert ended == [0, 3]
