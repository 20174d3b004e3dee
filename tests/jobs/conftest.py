"""Finished runs without training, for the jobs after training."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hydra.utils import get_method
from omegaconf import DictConfig, OmegaConf
from scaffolding import write_run

from brats_ablate.config.check import resolve
from brats_ablate.jobs.build import build_model, open_store
from brats_ablate.launch.sweep import run_directory
from brats_ablate.runs.directory import RunDirectory
from brats_ablate.runs.identity import identity
from brats_ablate.runs.state import RunState
from brats_ablate.training import checkpoint

FinishedRun = Callable[..., RunDirectory]


def run_job(cfg: DictConfig) -> None:
    """Run the job of a configuration as the entry point does, but raise its errors."""
    job: Any = OmegaConf.to_container(cfg.job, resolve=True)
    get_method(job.pop("_target_"))(cfg, **job)


@pytest.fixture
def finished_run(composed: Callable[..., DictConfig]) -> FinishedRun:
    """Writes a run as the trainer leaves it, with one checkpoint of random weights for each Dice."""

    def make(*overrides: str, dice: tuple[float, ...] = (0.5, 0.4), state: str = RunState.FINISHED) -> RunDirectory:
        cfg = composed(*overrides)
        run = run_directory(cfg)
        store = open_store(cfg)
        manifest = {"identity": identity(resolve(cfg)), "data_fingerprint": store.fingerprint}
        manifest |= {"held_out": store.held_out(int(cfg.fold))}
        write_run(run, state, dice=dice, manifest=manifest)
        (run.path / "config.yaml").write_text(OmegaConf.to_yaml(cfg, resolve=True))
        for epoch, value in enumerate(dice, start=1):
            model = build_model(cfg)
            with torch.no_grad():
                generator = torch.Generator().manual_seed(1000 * int(cfg.fold) + epoch)
                for p in model.parameters():
                    p += 0.1 * torch.randn(p.shape, generator=generator)
            content = {"model": model.state_dict(), "epoch": epoch, "dice": value, "identity": identity(resolve(cfg))}
            checkpoint.save(content, run.best_checkpoint(epoch, value))
        return run

    return make


@pytest.fixture
def job(composed: Callable[..., DictConfig]) -> Callable[..., None]:
    """Composes and runs a job in this process: `job("job=predict", "job.output=x")`; errors are raised."""
    return lambda *overrides: run_job(composed(*overrides))
