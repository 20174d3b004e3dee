"""`trainer.compile=true`: the same training, by compiled kernels, into checkpoints that any process reads."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from scaffolding import assert_same_training

from brats_ablate.runs.directory import RunDirectory
from brats_ablate.runtime import signals

pytestmark = [
    pytest.mark.slow(minutes=2),
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


INTERRUPTED = """
import os, signal
from brats_ablate.jobs import train
from brats_ablate.models.compilation import CompiledNetwork
from brats_ablate.training.trainer import Trainer
step, stop_at = Trainer.training_step, int(os.environ.get("STOP_AT", "-1"))
def interrupted(self, patches):
    if self.step == stop_at:
        signal.raise_signal(signal.SIGTERM)
    step(self, patches)
    assert isinstance(self.network, CompiledNetwork) and self.network.is_compiled
def run(cfg):
    Trainer.training_step = interrupted
    train.run(cfg)
"""
COMPILED = (*RUN, "trainer.compile=true", "inference=sliding_window_without_tta")


def test_a_compiled_run_resumes_bit_for_bit_and_predicts(
    brats_ablate: Command, run: RunDirectory, importable: Callable[[str, str], None], work: Path
) -> None:
    importable("interrupted.train", INTERRUPTED)
    line = (*COMPILED, "job._target_=interrupted.train.run")
    done = brats_ablate(*line)
    assert done.returncode == 0, done.stdout
    assert "cannot be compiled" not in done.stdout
    uninterrupted = RunDirectory(run.path.rename(run.path.with_name("uninterrupted")))
    stopped = brats_ablate(*line, STOP_AT="1")
    assert stopped.returncode == signals.EXIT_CODE, stopped.stdout
    done = brats_ablate(*line)
    assert done.returncode == 0, done.stdout
    assert_same_training(uninterrupted, run)  # validation windows are compiled, too

    case = run.cases()[0]["case"]
    labels = {}
    for compiled in ("true", "false"):
        one = ("job=predict", f"job.cases=[{case}]", "job.checkpoints=1", f"job.output=compiled_{compiled}")
        done = brats_ablate(*COMPILED, f"trainer.compile={compiled}", *one)
        assert done.returncode == 0, done.stdout
        assert "cannot be compiled" not in done.stdout
        (file,) = (work / "phantom" / "predictions" / f"compiled_{compiled}").rglob(f"{case}*.nii.gz")
        labels[compiled] = np.asarray(nibabel.load(file).dataobj)
    assert len(np.unique(labels["true"])) > 1
    assert (labels["true"] != labels["false"]).mean() < 1e-3
