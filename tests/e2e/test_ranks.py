"""Several ranks on one machine, started by us or by torchrun, train what one process with the whole batch trains."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from brats_ablate.rundir import RunDirectory

pytestmark = pytest.mark.slow
# Gradient descent at a small rate, not the paper's Adam: Adam divides by the gradient's size, which makes rounding errors of
# gradients near 0 as large as lr. Seen after these 4 steps: Adam 3.6e-6 (lr 1e-3) and 4.9e-6 (lr 1e-4), descent 1.6e-6 (lr 1e-2).
STEP = ("+experiment=ds", "loss.dice_over=global", "fold=0", "lr=0.003", "optimizer._target_=descent.sgd")
DESCENT = """
import torch
def sgd(parameters, lr: float, weight_decay: float):
    return torch.optim.SGD(parameters, lr=lr, weight_decay=weight_decay)
"""


@pytest.fixture(autouse=True)
def descent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "descent.py").write_text(DESCENT)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)


def run_of(work: Path, runs: str) -> RunDirectory:
    return RunDirectory(work / "phantom" / runs / "ds" / "fold=0" / "lr=0.003" / "seed=0")


def largest_difference(one: RunDirectory, other: RunDirectory) -> float:
    a, b = (torch.load(r.last_checkpoint, weights_only=True)["model"] for r in (one, other))
    return max(float((a[name] - b[name]).abs().max()) for name in a)


def initial(brats_ablate: Callable[..., subprocess.CompletedProcess[str]], work: Path) -> RunDirectory:
    """The same run after one step, which warm-up takes at a learning rate of 0."""
    done = brats_ablate(*STEP, "trainer.batch_size=4", "trainer.epochs=1", "paths.runs=${paths.work}/initial")
    assert done.returncode == 0, done.stdout
    return run_of(work, "initial")


@pytest.mark.parametrize("starter", ["trainer.devices", "torchrun"])
def test_two_ranks_equal_one_with_the_doubled_batch(
    brats_ablate: Callable[..., subprocess.CompletedProcess[str]], work: Path, starter: str, small: tuple[str, ...]
) -> None:
    alone = brats_ablate(*STEP, "trainer.batch_size=2", "paths.runs=${paths.work}/alone")
    assert alone.returncode == 0, alone.stdout
    options = (*STEP, "trainer.batch_size=1", "paths.runs=${paths.work}/together")
    if starter == "torchrun":
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m"]
        together = subprocess.run(
            [*command, "brats_ablate", *small, *options],
            env=os.environ | {"BRATS_ABLATE_WORK": str(work), "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert together.returncode == 0, together.stdout + together.stderr
    else:
        together = brats_ablate(*options, "trainer.devices=2")
        assert together.returncode == 0, together.stdout
    one, two = run_of(work, "alone"), run_of(work, "together")
    assert two.manifest()["world_size"] == 2
    assert one.metrics()[-1]["step"] == two.metrics()[-1]["step"] == 4
    assert largest_difference(one, two) <= 1e-6
    assert largest_difference(one, initial(brats_ablate, work)) > 1e-4  # they have moved much further than that
    # Every validation case once, whatever rank scored it, and in the same order.
    assert [(c["epoch"], c["case"]) for c in one.cases()] == [(c["epoch"], c["case"]) for c in two.cases()]


def test_a_rank_that_fails_is_named(
    brats_ablate: Callable[..., subprocess.CompletedProcess[str]], work: Path, tmp_path: Path
) -> None:
    (tmp_path / "faulty.py").write_text(
        "import os\n"
        "from brats_ablate.errors import DataError\n"
        "from brats_ablate.jobs import train\n"
        "from brats_ablate.training.trainer import Trainer\n"
        "def run(cfg):\n"
        "    if os.environ.get('RANK') == '1':\n"
        "        def broken(self, patches):\n"
        "            raise DataError('case phantom_0001 cannot be read; prepare it again')\n"
        "        Trainer._step = broken\n"
        "    train.run(cfg)\n"
    )
    done = brats_ablate(*STEP, "trainer.devices=2", "job._target_=faulty.run")
    assert done.returncode == 1, done.stdout
    assert "Traceback" not in done.stdout
    status = run_of(work, "runs").status()
    assert status is not None
    assert status.state == "failed"
    assert status.reason == "rank 1: case phantom_0001 cannot be read; prepare it again"
