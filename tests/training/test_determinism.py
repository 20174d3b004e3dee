"""Deterministic operations: for the block only, and the sentence about an operation that has none."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest
import torch
from omegaconf import DictConfig

from brats_ablate.errors import ConfigError, RunFailed
from brats_ablate.jobs import train
from brats_ablate.jobs.train.setup import build_trainer
from brats_ablate.launch.sweep import run_directory
from brats_ablate.models.unet import UNet
from brats_ablate.training.determinism import deterministic_algorithms
from brats_ablate.training.distributed import DistributedContext

VARIABLE = "CUBLAS_WORKSPACE_CONFIG"


def state() -> tuple[object, ...]:
    cudnn = torch.backends.cudnn
    flags = cudnn.benchmark, cudnn.deterministic
    return torch.are_deterministic_algorithms_enabled(), *flags, os.environ.get(VARIABLE)


@pytest.fixture(autouse=True)
def _no_workspace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)


def test_it_holds_within_the_block_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", True)
    before = state()
    with deterministic_algorithms(False):
        assert state() == before
    with deterministic_algorithms(True):
        assert state() == (True, False, True, ":4096:8")
    assert state() == before
    with pytest.raises(KeyError), deterministic_algorithms(True):
        raise KeyError
    assert state() == before


def test_a_workspace_of_the_environment_stays_if_it_is_reproducible(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, ":16:8")
    with deterministic_algorithms(True):
        assert os.environ[VARIABLE] == ":16:8"
    assert os.environ[VARIABLE] == ":16:8"
    monkeypatch.setenv(VARIABLE, ":0:0")
    with pytest.raises(ConfigError, match="CUBLAS_WORKSPACE_CONFIG=:0:0 of the environment"):
        deterministic_algorithms(True).__enter__()


def test_a_run_names_the_operation_without_a_deterministic_implementation(
    composed: Callable[..., DictConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = UNet.forward

    def varies(self: UNet, x: torch.Tensor) -> object:
        torch.zeros(3).put_(torch.tensor([0]), torch.ones(1))
        return real(self, x)

    monkeypatch.setattr(UNet, "forward", varies)
    cfg = composed("+experiment=baseline", "trainer.deterministic=true")
    with pytest.raises(RunFailed, match=r"put_ has no deterministic .* set trainer\.deterministic=false"):
        train.run(cfg)
    directory = run_directory(cfg)
    status = directory.status()
    assert str(status.reason).startswith("put_ has no deterministic implementation")
    assert not torch.are_deterministic_algorithms_enabled()


@pytest.mark.slow
def test_the_manifest_says_so_if_it_holds_for_the_whole_run(composed: Callable[..., DictConfig]) -> None:
    def recorded(on: bool) -> object:
        cfg = composed("+experiment=baseline", f"trainer.deterministic={on}")
        with build_trainer(cfg, directory, torch.device("cpu"), DistributedContext()):
            return directory.manifest().get("deterministic")

    directory = run_directory(composed("+experiment=baseline"))
    directory.last_checkpoint.parent.mkdir(parents=True)
    assert recorded(True) is True
    directory.last_checkpoint.touch()
    assert recorded(True) is True
    assert recorded(False) is None
    assert recorded(True) is None
