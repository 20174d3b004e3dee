"""The first lines of a run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from omegaconf import DictConfig, OmegaConf
from scaffolding import run_at, write_run

from brats_ablate.config.command import record_options
from brats_ablate.jobs.train.announcement import announcement
from brats_ablate.runs.state import RunState
from brats_ablate.runtime.text import format_duration
from brats_ablate.tables.designs import INTERIM
from brats_ablate.training.distributed import DistributedContext
from brats_ablate.training.precision import Precision


@pytest.mark.parametrize(
    ("typed", "subject"),
    [
        (("model=dynunet", "fold=1", "data=phantom", "init.checkpoint=a.pt"), "model=dynunet init.checkpoint=a.pt"),
        (("fold=1",), "default configuration"),
    ],
)
def test_a_run_without_a_question_is_named_by_its_options_also_where_hydra_did_not_compose_it(
    composition: Callable[..., DictConfig], tmp_path: Path, typed: tuple[str, ...], subject: str
) -> None:
    cfg = composition("fold=1", "name=mine")  # as a rank of several and a job of SLURM get it
    record_options(cfg, typed)
    precision = Precision.resolve("fp32", torch.device("cpu"))
    run = run_at(tmp_path, "mine", 1)
    shown = announcement(cfg, run, precision, DistributedContext(), cases=(4, 2), steps_per_epoch=2)
    assert shown.splitlines()[0] == f"{run.coordinates}: {subject}"


def test_a_run_that_continues_foresees_the_validations_of_its_schedule(
    composition: Callable[..., DictConfig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cfg = composition("name=mine", "validation=scheduled", "trainer.epochs=100")
    run = write_run(run_at(tmp_path, "mine"), RunState.RUNNING, dice=(), epochs=100)
    (run.path / "config.yaml").write_text(OmegaConf.to_yaml(cfg, resolve=True))
    run.last_checkpoint.touch()
    monkeypatch.setattr("brats_ablate.training.checkpoint.finished_epochs", lambda file: 89)
    for epoch in range(70, 90):
        run.append("metrics.jsonl", [{"epoch": epoch, "seconds": 60.0}])
    run.append("metrics.jsonl", [{"epoch": 92, "seconds": 660.0, "seconds/validation": 600.0}])  # and was killed
    precision = Precision.resolve("fp32", torch.device("cpu"))
    shown = announcement(cfg, run, precision, DistributedContext(), cases=(4, 2), steps_per_epoch=2)
    # 11 epochs of a minute, an interim validation, and ten final ones of 10 minutes each
    left = format_duration(11 * 60 + INTERIM * 600 + 10 * 600)
    assert shown.splitlines()[-1] == f"  continues after epoch 89, about {left} left"
