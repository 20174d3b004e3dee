from __future__ import annotations

from pathlib import Path

import pytest
import torch

from brats_ablate.runs.directory import Coordinates, RunDirectory
from brats_ablate.training.finite import non_finite_tensor, remedy


@pytest.mark.parametrize("value", [float("inf"), float("-inf"), float("nan")])
def test_the_first_tensor_that_is_not_finite_is_named(value: float) -> None:
    tensors = {"a": torch.ones(3), "count": torch.tensor(3), "b": torch.tensor([1.0, value]), "c": torch.tensor(value)}
    assert non_finite_tensor(tensors) == "b"
    del tensors["b"], tensors["c"]
    assert non_finite_tensor(tensors) is None


def test_the_remedy_changes_the_name_with_the_precision(tmp_path: Path) -> None:
    run = RunDirectory.at(tmp_path, Coordinates("ds", 0, 7e-4, 0))
    text = remedy(run, "bf16")
    assert text.startswith("run the same command again to continue from its beginning;")
    assert text.endswith("with a lower lr, or with trainer.precision=fp32 name=ds_fp32")
    run.last_checkpoint.parent.mkdir(parents=True)
    run.last_checkpoint.touch()
    text = remedy(run, "fp32")
    assert "continue from its last checkpoint" in text
    assert text.endswith("with a lower lr")
