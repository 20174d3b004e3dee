"""`trainer.compile=true`: the same training, by compiled kernels, into checkpoints that know nothing of it."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable

import pytest
import torch

from brats_ablate.runs.directory import RunDirectory

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler on a CPU"),
]
Command = Callable[..., subprocess.CompletedProcess[str]]
RUN = ("+experiment=baseline", "fold=0", "lr=0.001")


def losses(run: RunDirectory) -> list[float]:
    return [row["loss"] for row in run.metrics() if "loss" in row]


def test_a_compiled_run_is_the_plain_one_to_rounding(brats_ablate: Command, run: RunDirectory) -> None:
    plain = brats_ablate(*RUN)
    assert plain.returncode == 0, plain.stdout
    expected, weights = losses(run), torch.load(run.last_checkpoint, weights_only=True)["model"]
    run.path.rename(run.path.with_name("plain"))
    compiled = brats_ablate(*RUN, "trainer.compile=true")
    assert compiled.returncode == 0, compiled.stdout
    assert losses(run) == pytest.approx(expected, rel=1e-4)
    found = torch.load(run.last_checkpoint, weights_only=True)["model"]
    assert found.keys() == weights.keys()
    assert any(not torch.equal(found[key], weights[key]) for key in weights)  # it was compiled: rounding differs
