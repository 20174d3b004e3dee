"""The first lines of a run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from omegaconf import DictConfig
from scaffolding import run_at

from brats_ablate.config.command import record_options
from brats_ablate.jobs.train.announcement import announcement
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
