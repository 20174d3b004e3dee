from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import DictConfig, OmegaConf
from scaffolding import write_run

from brats_ablate.cases import Batch, Patch
from brats_ablate.config.check import resolve
from brats_ablate.errors import RunFailed
from brats_ablate.jobs.sweep.dry_run import FirstSteps, ListedKinds, Measurement, compile_transforms, validations
from brats_ablate.jobs.sweep.plan import estimate_sweep, measure_in_subprocess, run
from brats_ablate.launch.sweep import run_directory
from brats_ablate.runs.identity import identity
from brats_ablate.runs.state import RunState
from brats_ablate.transforms.compose import Compose
from brats_ablate.transforms.foreground import ModalitiesOnly
from brats_ablate.transforms.pipeline import BatchPipeline
from brats_ablate.transforms.sampling import selected_samples

MEASURED: Measurement = {
    "step_s": 2.0,
    "case_s": 10.0,
    "interim_case_s": 3.0,
    "memory_bytes": 2**30,
    "disk_bytes": 3000,
    "steps_per_epoch": 100,
    "validation_cases": 20,
    "device": "cuda",
}


@pytest.fixture
def sweep(composition: Callable[..., DictConfig], tmp_path: Path) -> list[DictConfig]:
    base = composition("data=phantom", f"paths.runs={tmp_path}", "trainer.epochs=10", "validation.every=5")
    configurations = []
    for name in ("a", "b"):
        for fold in range(2):
            cfg = OmegaConf.merge(base, {"name": name, "fold": fold})
            configurations.append(cfg)
    return configurations


def write(cfg: DictConfig, state: RunState, finished_epochs: int) -> None:
    dice = [0.9] * finished_epochs
    write_run(run_directory(cfg), state, dice=dice, epochs=10, manifest={"identity": identity(resolve(cfg))})


def test_hours_count_the_epochs_left_and_the_ranks_of_a_run(sweep: list[DictConfig]) -> None:
    for cfg in sweep:
        OmegaConf.update(cfg, "trainer.ranks", 4)
    write(sweep[0], RunState.FINISHED, 10)
    write(sweep[1], RunState.INTERRUPTED, 4)
    estimate = estimate_sweep(sweep, lambda cfg: MEASURED)
    a, b = estimate.experiments
    # On 4 ranks an epoch has 25 steps of 2 s, and every fifth epoch 5 cases of 10 s: 50 + 50 / 5 s.
    assert a.epoch_s == b.epoch_s == pytest.approx(60)
    assert (a.finished, a.epochs_left, b.epochs_left) == (1, 6, 20)
    assert a.device_hours == pytest.approx(6 * 60 * 4 / 3600)
    assert b.device_hours == pytest.approx(20 * 60 * 4 / 3600)
    assert estimate.needed_bytes == 3 * 3000
    text = estimate.format()
    assert "4 runs, 1 finished, 3 to do, 4 ranks each" in text
    assert f"{6 * 60 * 4 / 3600 + 20 * 60 * 4 / 3600:.1f} GPU-hours" in text
    estimate.check()


def test_an_experiment_that_would_fail_is_named_with_the_reason(sweep: list[DictConfig]) -> None:
    def measure(cfg: DictConfig) -> Measurement:
        if cfg.name == "b":
            raise RunFailed("out of memory")
        return MEASURED

    estimate = estimate_sweep(sweep, measure)
    assert "b would fail: out of memory" in estimate.format()
    with pytest.raises(RunFailed, match=r"^b would fail"):
        estimate.check()


def test_a_disk_that_is_too_small(sweep: list[DictConfig]) -> None:
    huge: Measurement = {**MEASURED, "disk_bytes": 2**60}
    with pytest.raises(RunFailed, match="free space"):
        estimate_sweep(sweep, lambda cfg: huge).check()


def test_without_a_dry_run_the_job_only_counts(
    sweep: list[DictConfig], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for cfg in sweep[2:]:
        OmegaConf.update(cfg, "trainer.ranks", 2)
    run(sweep[0], dry_run=False, json=str(tmp_path / "plan.json"), sweep=sweep)
    assert "4 runs, 0 finished, 4 to do, 1 or 2 ranks each" in capsys.readouterr().out
    content = json.loads((tmp_path / "plan.json").read_text())
    assert [
        (e["experiment"], e["runs"], e["epochs_left"], e["ranks"], e["measured"]) for e in content["experiments"]
    ] == [
        ("a", 2, 20, 1, None),
        ("b", 2, 20, 2, None),
    ]
    assert content["needed_bytes"] == 0


@pytest.mark.slow
def test_a_dry_run_that_fails_gives_its_reason(sweep: list[DictConfig]) -> None:
    OmegaConf.update(sweep[0], "paths.prepared", "/nonexistent/prepared")
    with pytest.raises(RunFailed, match="job=prepare"):
        measure_in_subprocess(sweep[0])


def test_an_epoch_of_the_dry_run_has_its_first_steps_and_stops_reading() -> None:
    ended = []

    class Loader:
        def epoch(self, epoch: int, start_step: int) -> Iterator[int]:
            try:
                yield from range(10 * epoch, 10 * epoch + 5)
            finally:
                ended.append(epoch)

    assert list(FirstSteps(Loader(), 1).epoch(0)) == [0]
    assert list(FirstSteps(Loader(), 3).epoch(3)) == [30, 31, 32]
    assert ended == [0, 3]


def test_rare_transforms_are_applied_before_the_dry_run_measures() -> None:
    patch = Patch(np.zeros((1, 5, 6, 7), np.int16), np.zeros((5, 6, 7), np.uint8), (0.0,), (1.0,), "a", (3, 1, 0))
    applied = []

    class Rare:
        def __call__(self, batch: Batch) -> Batch:
            applied.extend(selected_samples(batch, "rare", 0.15))
            return batch

    class Loader:
        def epoch(self, epoch: int) -> Iterator[list[Patch]]:
            yield [patch]

    pipeline = BatchPipeline(Compose({"rare": Rare()}), ModalitiesOnly(None), torch.device("cpu"))
    trainer: Any = SimpleNamespace(loader=Loader(), pipeline=pipeline)
    compile_transforms(trainer)
    assert applied
    assert patch.sample_key == (3, 1, 0)


@pytest.mark.parametrize("has_interim", [False, True])
def test_what_the_dry_run_measures_on_a_gpu_has_been_compiled_before(has_interim: bool) -> None:
    kinds = validations("cuda", has_interim=has_interim)
    schedule = ListedKinds(every=1, kinds=kinds)
    of_epochs = [schedule.kind(epoch, len(kinds)) for epoch in range(1, len(kinds) + 1)]
    measured = of_epochs[-2:] if has_interim else of_epochs[-1:]
    assert measured == (["interim", "final"] if has_interim else ["final"])
    assert all(kind in of_epochs[: -len(measured)] for kind in measured)
    assert len(validations("cpu", has_interim=has_interim)) == 1 + len(measured)
